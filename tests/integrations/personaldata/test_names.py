"""What names of columns say."""

import pytest

from ml_platform.contracts.personaldata import SURE_FROM
from ml_platform.integrations.personaldata.names import kinds_by_name, words_of

SURE = {
    "email": "email E-Mail emailAddress user_email EMAIL_ADDRESS contact_email correo email_hash",
    "phone": "phone phone_number phoneNumber2 home_phone MSISDN telefon mobile_number fax",
    "payment_card": "card_number cardNumber cc_num credit_card_number",
    "bank_account": "iban IBAN customer_iban bank_account kontonummer sort_code",
    "national_id": "ssn SSN social_security_number passport_no national_id tax_id aadhaar cpf",
    "person_name": "first_name firstName lastname surname full_name customer_name vorname prénom cardholder",
    "address": "address street home_address billing_address_2 Straße address_line_1",
    "person_id": "customer_id customerID CustomerId user_id patient_number member_no client_key username",
    "ip_address": "ip ip_address IPAddress client_ip ipv4 IPv6",
    "device_id": "mac_address imei advertising_id",
    "birth_date": "dob DOB birth_date date_of_birth birthDate year_of_birth Geburtsdatum",
    "postcode": "zip zipcode postal_code postcode plz",
    "gender": "gender sex is_female Geschlecht",
    "age": "customer_age patient_age",
    "special_category": "ethnicity religion hiv_status has_disability political_party",
}
NOTHING = [
    "phone_service",
    "multiple_lines",
    "internet_service",
    "payment_method",
    "paperless_billing",
    "monthly_charges",
    "total_charges",
    "has_phone",
    "num_phones",
    "phone_model",
    "phone_brand",
    "is_mobile",
    "email_domain",
    "email_count",
    "has_email",
    "email_opens_rate",
    "email_verified",
    "emails_sent",
    "days_since_email",
    "address_changes",
    "address_type",
    "web_address",
    "memory_address",
    "card_type",
    "credit_card_limit",
    "credit_card_balance",
    "card_present",
    "iban_country_valid",
    "name",
    "product_name",
    "file_name",
    "column_name",
    "company_name",
    "nombre_items",
    "customer_count",
    "customer_value",
    "customers",
    "number_of_users",
    "user_number_of_orders",
    "client_type",
    "account_balance",
    "id",
    "order_id",
    "product_id",
    "sku",
    "ipo",
    "ship",
    "shipping",
    "tip",
    "tips",
    "zip_file_count",
    "trip",
    "stage",
    "page",
    "percentage",
    "average",
    "mileage",
    "language",
    "tenure",
    "contract",
    "churn",
    "event_timestamp",
    "created_at",
    "birth_rate",
    "birth_weight",
    "sexton",
    "assess",
    "latency",
    "platform",
    "population",
    "relation",
    "flat",
    "longest",
    "sensor",
    "temperature",
    "x1",
    "feature_42",
]


class TestNames:
    @pytest.mark.parametrize(
        ("kind", "name"), [(kind, name) for kind, names in SURE.items() for name in names.split()]
    )
    def test_that_say_what_a_column_holds(self, kind: str, name: str) -> None:
        assert kinds_by_name(name).get(kind, 0.0) >= SURE_FROM, kinds_by_name(name)  # type: ignore[call-overload]

    @pytest.mark.parametrize("name", NOTHING)
    def test_that_only_sound_like_it_say_nothing(self, name: str) -> None:
        assert {kind.value for kind, sure in kinds_by_name(name).items() if sure >= SURE_FROM} == set()

    @pytest.mark.parametrize("name", ["age", "latitude", "race"])
    def test_that_mean_many_things_are_told_and_nothing_follows(self, name: str) -> None:
        [sure] = kinds_by_name(name).values()
        assert sure < SURE_FROM

    @pytest.mark.parametrize(
        "name", ["", "   ", "_", "💥", "\u202e", "x" * 200, "Aa" * 100, "1" * 200, "é" * 200]
    )
    def test_may_be_anything(self, name: str) -> None:
        assert kinds_by_name(name) == {}
        assert len(words_of(name)) <= 200
