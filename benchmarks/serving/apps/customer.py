"""The body of one customer, as the FastAPI servers declare it."""

from pydantic import BaseModel


class Customer(BaseModel):
    female: int
    senior_citizen: int
    partner: int
    dependents: int
    tenure: int
    phone_service: int
    multiple_lines: str
    internet_service: str
    online_security: str
    online_backup: str
    device_protection: str
    tech_support: str
    streaming_tv: str
    streaming_movies: str
    contract: str
    paperless_billing: int
    payment_method: str
    monthly_charges: float
    total_charges: float
