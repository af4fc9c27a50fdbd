"""Addresses of sums in messages between custodian and coordinator."""

from fedseal.rounds import RoundAddress
from fedseal.wire._generated import coordination_pb2, custody_pb2


def address_to_wire(address: RoundAddress) -> custody_pb2.SumAddress:
    """As a protobuf message."""
    return custody_pb2.SumAddress(job=address.job, stage=address.stage, round=address.round, attempt=address.attempt)


def address_from_wire(message: custody_pb2.SumAddress) -> RoundAddress:
    """Read and check a protobuf message.

    Raises:
        PeerFault: the stage's name or a number cannot be one.
        DigestInvalid: the job is not a digest.
    """
    return RoundAddress.from_wire(
        coordination_pb2.RoundAddress(
            job=message.job, stage=message.stage, round=message.round, attempt=message.attempt
        )
    )
