"""``authority.yaml``: where the enrolment service listens and how long its papers last."""

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from fedseal.authority.diagnosis import split_address
from fedseal.errors import SetupError
from fedseal_governance.documents import Document, fault

CONFIG_FILE = "authority.yaml"

Address = Annotated[str, Field(max_length=300)]


class AuthorityConfig(Document):
    """The settings of an authority; every key is optional."""

    listen: Address = "0.0.0.0:7400"
    address: Address = "localhost:7400"  # what invitations tell them
    coordinator: Address | None = None  # what invitations tell nodes and people
    certificate_days: Annotated[int, Field(ge=1, le=825)] = 365  # of parties, and of the authority's own service
    invitation_hours: Annotated[int, Field(ge=1, le=24 * 90)] = 72
    revocation_days: Annotated[int, Field(ge=1, le=366)] = 90  # a new list is due by then even if nothing changed

    @field_validator("listen", "address", "coordinator")
    @classmethod
    def _host_and_port(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None:
            try:
                split_address(value, free_port=info.field_name == "listen")
            except SetupError:
                what, remedy = f"{value!r} is not an address", "write host:port, such as authority.example.org:7400"
                raise fault(what, remedy) from None
        return value

    @property
    def hosts(self) -> tuple[str, ...]:
        """What the service's certificate names besides its service name."""
        return (split_address(self.address)[0],)


def render_config(config: AuthorityConfig) -> bytes:
    """The file as ``federation init`` writes it."""
    coordinator = config.coordinator or "null  # host:port, put into invitations of nodes and people"
    return (
        "# Settings of the federation's authority; restart `fedseal federation serve` after a change.\n"
        f"listen: {config.listen}\n"
        f"address: {config.address}  # put into invitations; must reach this machine\n"
        f"coordinator: {coordinator}\n"
        f"certificate_days: {config.certificate_days}\n"
        f"invitation_hours: {config.invitation_hours}\n"
        f"revocation_days: {config.revocation_days}  # renew the revocation list within this time\n"
    ).encode()
