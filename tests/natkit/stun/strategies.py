"""Hypothesis strategies for attributes and messages; the fuzzer's corpus draws from them too."""

from hypothesis import strategies as st

from natkit.address import Address
from natkit.stun.attributes import (
    AccessToken,
    AdditionalAddressFamily,
    AddressErrorCode,
    AlternateDomain,
    AlternateServer,
    Attribute,
    CacheTimeout,
    ChangedAddress,
    ChangeRequest,
    ChannelNumber,
    ConnectionId,
    Data,
    DontFragment,
    ErrorCode,
    EvenPort,
    Fingerprint,
    IceControlled,
    IceControlling,
    Icmp,
    KnownAttribute,
    Lifetime,
    MappedAddress,
    MessageIntegrity,
    MessageIntegritySha256,
    MobilityTicket,
    Nomination,
    Nonce,
    Origin,
    OtherAddress,
    Padding,
    Password,
    PasswordAlgorithm,
    PasswordAlgorithms,
    Priority,
    Realm,
    ReflectedFrom,
    RequestedAddressFamily,
    RequestedTransport,
    ReservationToken,
    ResponseAddress,
    ResponseOrigin,
    ResponsePort,
    Software,
    SourceAddress,
    SsodaAdditionalAddressFamily,
    ThirdPartyAuthorization,
    UnknownAttribute,
    UnknownAttributes,
    UseCandidate,
    UserHash,
    Username,
    XorMappedAddress,
    XorPeerAddress,
    XorRelayedAddress,
)
from natkit.stun.message import Message
from natkit.stun.registry import (
    METHOD_MAXIMUM,
    TRANSACTION_ID_LENGTH,
    AttributeType,
    DraftAttributeType,
    MessageClass,
)

u8 = st.integers(0, 0xFF)
u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFFFFFF)
u64 = st.integers(0, 0xFFFFFFFFFFFFFFFF)
addresses = st.builds(
    Address.from_packed,
    st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16),
    u16,
)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=127)
error_codes = st.integers(300, 699)
algorithms = st.builds(PasswordAlgorithm, u16, st.binary(max_size=9))
sha256_lengths = st.sampled_from([16, 20, 24, 28, 32])

ATTRIBUTES: dict[type[KnownAttribute], st.SearchStrategy[KnownAttribute]] = {
    MappedAddress: st.builds(MappedAddress, addresses),
    ResponseAddress: st.builds(ResponseAddress, addresses),
    ChangeRequest: st.builds(ChangeRequest, st.booleans(), st.booleans()),
    SourceAddress: st.builds(SourceAddress, addresses),
    ChangedAddress: st.builds(ChangedAddress, addresses),
    Username: st.builds(Username, text),
    Password: st.builds(Password, st.binary(max_size=40)),
    MessageIntegrity: st.builds(MessageIntegrity, st.binary(min_size=20, max_size=20)),
    ErrorCode: st.builds(ErrorCode, error_codes, text),
    UnknownAttributes: st.builds(UnknownAttributes, st.lists(u16, max_size=9).map(tuple)),
    ReflectedFrom: st.builds(ReflectedFrom, addresses),
    ChannelNumber: st.builds(ChannelNumber, u16),
    Lifetime: st.builds(Lifetime, u32),
    XorPeerAddress: st.builds(XorPeerAddress, addresses),
    Data: st.builds(Data, st.binary(max_size=200)),
    Realm: st.builds(Realm, text),
    Nonce: st.builds(Nonce, st.binary(max_size=763)),
    XorRelayedAddress: st.builds(XorRelayedAddress, addresses),
    RequestedAddressFamily: st.builds(RequestedAddressFamily, u8),
    EvenPort: st.builds(EvenPort, st.booleans()),
    RequestedTransport: st.builds(RequestedTransport, u8),
    DontFragment: st.builds(DontFragment),
    AccessToken: st.builds(AccessToken, st.binary(max_size=40), st.binary(max_size=90)),
    MessageIntegritySha256: sha256_lengths.flatmap(
        lambda size: st.builds(MessageIntegritySha256, st.binary(min_size=size, max_size=size))
    ),
    PasswordAlgorithm: algorithms,
    UserHash: st.builds(UserHash, st.binary(min_size=32, max_size=32)),
    XorMappedAddress: st.builds(XorMappedAddress, addresses),
    ReservationToken: st.builds(ReservationToken, st.binary(min_size=8, max_size=8)),
    Priority: st.builds(Priority, u32),
    UseCandidate: st.builds(UseCandidate),
    Padding: st.builds(Padding, st.binary(max_size=60)),
    ResponsePort: st.builds(ResponsePort, u16),
    ConnectionId: st.builds(ConnectionId, u32),
    AdditionalAddressFamily: st.builds(AdditionalAddressFamily, u8),
    AddressErrorCode: st.builds(AddressErrorCode, u8, error_codes, text),
    PasswordAlgorithms: st.builds(PasswordAlgorithms, st.lists(algorithms, max_size=5).map(tuple)),
    AlternateDomain: st.builds(
        AlternateDomain, st.from_regex(r"[a-z0-9-]{1,20}(\.[a-z0-9-]{1,20}){0,5}", fullmatch=True)
    ),
    Icmp: st.builds(Icmp, u8, u8, u32),
    Software: st.builds(Software, text),
    AlternateServer: st.builds(AlternateServer, addresses),
    CacheTimeout: st.builds(CacheTimeout, u32),
    Fingerprint: st.builds(Fingerprint, u32),
    IceControlled: st.builds(IceControlled, u64),
    IceControlling: st.builds(IceControlling, u64),
    ResponseOrigin: st.builds(ResponseOrigin, addresses),
    OtherAddress: st.builds(OtherAddress, addresses),
    ThirdPartyAuthorization: st.builds(ThirdPartyAuthorization, text),
    MobilityTicket: st.builds(MobilityTicket, st.binary(max_size=80)),
    Origin: st.builds(Origin, text),
    Nomination: st.builds(Nomination, u32),
    SsodaAdditionalAddressFamily: st.builds(SsodaAdditionalAddressFamily, u8),
}
"""One strategy for every class; a test asserts that none is missing."""

PROOFS = (MessageIntegrity, MessageIntegritySha256, Fingerprint)
"""Classes whose place in a message, or value, depends on what stands before them."""

unknown_attributes = st.builds(
    UnknownAttribute,
    u16.filter(lambda number: number not in {*AttributeType, *DraftAttributeType}),
    st.binary(max_size=70),
)
plain_attributes: st.SearchStrategy[Attribute] = (
    st.one_of([strategy for kind, strategy in ATTRIBUTES.items() if kind not in PROOFS])
    | unknown_attributes
)
transaction_ids = st.binary(min_size=TRANSACTION_ID_LENGTH, max_size=TRANSACTION_ID_LENGTH)
messages = st.builds(
    Message,
    st.integers(0, METHOD_MAXIMUM),
    st.sampled_from(MessageClass),
    transaction_ids,
    st.lists(plain_attributes, max_size=8).map(tuple),
)
