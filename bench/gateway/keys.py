"""The virtual keys of the gateway under test: LiteLLM's own limiter enforces what is said of each here."""

from litellm.proxy._types import UserAPIKeyAuth

REQUESTS_A_MINUTE = {"sk-open": None, "sk-limited": 60, "sk-patient": 60}


async def user_api_key_auth(request, api_key: str) -> UserAPIKeyAuth:
    if api_key not in REQUESTS_A_MINUTE:
        raise ValueError("no such key")
    return UserAPIKeyAuth(api_key=api_key, rpm_limit=REQUESTS_A_MINUTE[api_key])
