"""FastAPI with ONNX Runtime on the event loop, without pandas: what a team with time makes of it."""

from operator import attrgetter

from customer import Customer
from fastapi import FastAPI
from graph import Graph

app = FastAPI()
graph = Graph()
row_of = attrgetter(*graph.names)


@app.post("/predict")
async def predict(customer: Customer) -> dict[str, float]:
    return {"churn_probability": graph.probabilities([row_of(customer)])[0]}
