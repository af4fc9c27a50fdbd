"""The federation's authority: who belongs to the consortium.

    folder        the authority's own folder, its protected root key, and how it is created
    office        what the authority does: invite, issue, revoke; each with its audit entry in one transaction
    invitations   the file that an invited party receives
    exchange      request and answer of an enrolment, as documents
    applicant     the invited party's side: keys made locally, certificates stored whole
    service       the enrolment service over gRPC
    client        calls that service; ``diagnosis`` says why a connection failed
    names         service names inside certificates

Rules the package keeps: private keys never travel; a token works once and expires; what a certificate says
comes from the authority's records, never from the request; a lost answer can be fetched again with the same
keys.
"""
