"""FastAPI with pandas and scikit-learn, as most teams write it: MODEL names the joblib file."""

import os

import joblib
import pandas as pd
from customer import Customer
from fastapi import FastAPI

app = FastAPI()
model = joblib.load(os.environ["MODEL"])


@app.post("/predict")
def predict(customer: Customer) -> dict[str, float]:
    frame = pd.DataFrame([customer.model_dump()])
    return {"churn_probability": float(model.predict_proba(frame)[0, 1])}
