# pragma version 0.4.3
# pragma evm-version cancun
# pragma nonreentrancy on
"""
@title Payment by verdict
@license Apache-2.0
@notice A client locks the price of one request, and a node locks a stake. A quorum of the committee releases
        both to the node, or gives both to the client if it contradicts the node. If it says that the node
        does not show its work, the node loses a part of the stake, which nobody gets. Every lock ends by itself.
@dev The terms of a job are its identifier: they are hashed, given with every call, and not stored. What is
     owed is credited and withdrawn, so nobody who refuses money keeps others from theirs.

     What a job goes through, and who can stop it:

        open -> taken -> accepted -> paid       release, by anybody, after the time for contradictions
         |        |         `------> slashed    contradict, by a quorum, within that time
         |        |--------> slashed            contradict, by a quorum, before the deadline
         |        |--------> silent -> forfeited  forfeit, by anybody, after the time to show the work
         |        |            |-----> accepted   accept, by a quorum, within that time
         |        |            `-----> slashed    contradict, by a quorum, within that time
         |        `--------> expired            expire, by anybody, after the deadline
         `-> cancelled                          cancel, by the client, before the node took it
"""


struct Terms:
    client: address  # who pays, and gets the stake of a node that is contradicted
    payee: address  # the node's address, which takes the job and is paid
    node: bytes32  # the node's Ed25519 key, which receipts name
    request: bytes32  # digest of the request
    model: bytes32  # identifier of the model
    price: uint256
    stake: uint256
    forfeit: uint256  # what of the stake a node loses that does not show its work
    take_by: uint256  # the node takes the job until then
    deadline: uint256  # verdicts count until then


struct Vote:
    auditor: bytes32
    evidence: bytes32
    step: uint8
    made: uint64
    v: uint8
    r: bytes32
    s: uint256
    outcome: uint8


event Opened:
    job: indexed(bytes32)
    client: indexed(address)
    node: indexed(bytes32)
    terms: Terms


event Taken:
    job: indexed(bytes32)


event Cancelled:
    job: indexed(bytes32)


event Accepted:
    job: indexed(bytes32)
    receipt: indexed(bytes32)
    until: uint256


event Slashed:
    job: indexed(bytes32)
    receipt: indexed(bytes32)


event Silent:
    job: indexed(bytes32)
    receipt: indexed(bytes32)
    until: uint256


event Forfeited:
    job: indexed(bytes32)


event Paid:
    job: indexed(bytes32)


event Expired:
    job: indexed(bytes32)


event Withdrawn:
    owner: indexed(address)
    amount: uint256


OPEN: constant(uint8) = 1
TAKEN: constant(uint8) = 2
ACCEPTED: constant(uint8) = 3
PAID: constant(uint8) = 4
SLASHED: constant(uint8) = 5
EXPIRED: constant(uint8) = 6
CANCELLED: constant(uint8) = 7
SILENT: constant(uint8) = 8
FORFEITED: constant(uint8) = 9

ACCEPTANCE: constant(uint8) = 1  # the outcomes of a verdict
CONTRADICTION: constant(uint8) = 2
SILENCE: constant(uint8) = 3
REFUSAL: constant(uint8) = 4

MAX_MEMBERS: constant(uint256) = 32
LONGEST: constant(uint256) = 366 * 86400  # seconds: no lock is longer than this
HALF_ORDER: constant(uint256) = 57896044618658097711785492504343953926418782139537452191302581570759080747168

DOMAIN_TYPE: constant(bytes32) = keccak256(
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
VERDICT_TYPE: constant(bytes32) = keccak256(
    "Verdict(bytes32 receipt,bytes32 request,bytes32 model,bytes32 node,bytes32 auditor,bytes32 evidence,uint8 outcome,uint8 step,uint64 rows,uint64 made)"
)
NAME_HASH: constant(bytes32) = keccak256("proofcompute")
VERSION_HASH: constant(bytes32) = keccak256("1")

threshold: public(immutable(uint256))
window: public(immutable(uint256))  # seconds for another verdict after an acceptance or after silence
is_member: public(HashMap[address, bool])
state: public(HashMap[bytes32, uint8])
until: public(HashMap[bytes32, uint256])
owed: public(HashMap[address, uint256])


@deploy
def __init__(members: DynArray[address, MAX_MEMBERS], _threshold: uint256, _window: uint256):
    """
    @param members The addresses of the auditors.
    @param _threshold How many of them make a quorum: more than half, so no minority is one.
    @param _window Seconds for contradictions after an acceptance, and for showing the work after silence.
    """
    assert 2 * _threshold > len(members), "a quorum is more than half"
    assert _threshold <= len(members), "a quorum is of members"
    assert _window <= LONGEST, "too long"
    for member: address in members:
        assert member != empty(address), "no member"
        assert not self.is_member[member], "twice a member"
        self.is_member[member] = True
    threshold = _threshold
    window = _window


@external
@payable
def open(terms: Terms):
    """
    @notice Lock the price of a request.
    """
    job: bytes32 = self._job(terms)
    assert self.state[job] == 0, "opened before"
    assert msg.sender == terms.client, "not the client"
    assert msg.value == terms.price, "not the price"
    assert terms.price > 0, "no price"
    assert terms.forfeit <= terms.stake, "forfeits more than it locks"
    assert block.timestamp <= terms.take_by, "too late"
    assert terms.take_by < terms.deadline, "no time to work"
    assert terms.deadline <= block.timestamp + LONGEST, "too long"
    self.state[job] = OPEN
    log Opened(job=job, client=terms.client, node=terms.node, terms=terms)


@external
@payable
def take(terms: Terms):
    """
    @notice Lock the stake, as the node: from now on the price waits for verdicts.
    """
    job: bytes32 = self._job(terms)
    assert self.state[job] == OPEN, "not open"
    assert msg.sender == terms.payee, "not the node"
    assert msg.value == terms.stake, "not the stake"
    assert block.timestamp <= terms.take_by, "too late"
    self.state[job] = TAKEN
    log Taken(job=job)


@external
def cancel(terms: Terms):
    """
    @notice Take the price back, as the client, from a job that no node took.
    """
    job: bytes32 = self._job(terms)
    assert self.state[job] == OPEN, "not open"
    assert msg.sender == terms.client, "not the client"
    self.state[job] = CANCELLED
    self.owed[terms.client] += terms.price
    log Cancelled(job=job)


@external
def accept(terms: Terms, receipt: bytes32, rows: uint64, votes: DynArray[Vote, MAX_MEMBERS]):
    """
    @notice Bring a quorum's acceptance. Anybody may.
    @param votes In the ascending order of the signers' addresses.
    """
    job: bytes32 = self._job(terms)
    if self.state[job] == SILENT:
        assert block.timestamp <= self.until[job], "too late"
    else:
        assert self.state[job] == TAKEN, "not taken"
        assert block.timestamp <= terms.deadline, "too late"
    self._check(terms, receipt, rows, ACCEPTANCE, ACCEPTANCE, votes)
    self.state[job] = ACCEPTED
    self.until[job] = block.timestamp + window
    log Accepted(job=job, receipt=receipt, until=block.timestamp + window)


@external
def contradict(terms: Terms, receipt: bytes32, rows: uint64, votes: DynArray[Vote, MAX_MEMBERS]):
    """
    @notice Bring a quorum's contradiction, of any receipt of the node for this request. Anybody may.
    @param votes In the ascending order of the signers' addresses.
    """
    job: bytes32 = self._job(terms)
    if self.state[job] in [ACCEPTED, SILENT]:
        assert block.timestamp <= self.until[job], "too late"
    else:
        assert self.state[job] == TAKEN, "not taken"
        assert block.timestamp <= terms.deadline, "too late"
    self._check(terms, receipt, rows, CONTRADICTION, CONTRADICTION, votes)
    self.state[job] = SLASHED
    self.owed[terms.client] += terms.price + terms.stake
    log Slashed(job=job, receipt=receipt)


@external
def silence(terms: Terms, receipt: bytes32, rows: uint64, votes: DynArray[Vote, MAX_MEMBERS]):
    """
    @notice Bring a quorum's word that the node signed a receipt and does not show the work: each vote says
            that it was silent or that it refused. The node has the window to show it after all. Anybody may.
    @param votes In the ascending order of the signers' addresses.
    """
    job: bytes32 = self._job(terms)
    assert self.state[job] == TAKEN, "not taken"
    assert block.timestamp <= terms.deadline, "too late"
    self._check(terms, receipt, rows, SILENCE, REFUSAL, votes)
    self.state[job] = SILENT
    self.until[job] = block.timestamp + window
    log Silent(job=job, receipt=receipt, until=block.timestamp + window)


@external
def forfeit(terms: Terms):
    """
    @notice Give the price back to the client and the stake but for the forfeit to the node, which did not
            show its work in time. Anybody may. The forfeit is credited to nobody: who gained by silence would
            bring it about.
    """
    job: bytes32 = self._job(terms)
    assert self.state[job] == SILENT, "not silent"
    assert block.timestamp > self.until[job], "too early"
    self.state[job] = FORFEITED
    self.owed[terms.client] += terms.price
    self.owed[terms.payee] += terms.stake - terms.forfeit
    self.owed[empty(address)] += terms.forfeit
    log Forfeited(job=job)


@external
def release(terms: Terms):
    """
    @notice Credit price and stake to the node, once the time for contradictions is over. Anybody may.
    """
    job: bytes32 = self._job(terms)
    assert self.state[job] == ACCEPTED, "not accepted"
    assert block.timestamp > self.until[job], "too early"
    self.state[job] = PAID
    self.owed[terms.payee] += terms.price + terms.stake
    log Paid(job=job)


@external
def expire(terms: Terms):
    """
    @notice Give the price back to the client and the stake to the node, if no quorum spoke in time. Anybody may.
    """
    job: bytes32 = self._job(terms)
    assert self.state[job] == TAKEN, "not taken"
    assert block.timestamp > terms.deadline, "too early"
    self.state[job] = EXPIRED
    self.owed[terms.client] += terms.price
    self.owed[terms.payee] += terms.stake
    log Expired(job=job)


@external
def withdraw():
    """
    @notice Send the caller all that it is owed.
    """
    amount: uint256 = self.owed[msg.sender]
    assert amount > 0, "nothing owed"
    self.owed[msg.sender] = 0
    raw_call(msg.sender, b"", value=amount)
    log Withdrawn(owner=msg.sender, amount=amount)


@external
@view
def job_of(terms: Terms) -> bytes32:
    """
    @notice The identifier of a job.
    """
    return self._job(terms)


@internal
@pure
def _job(terms: Terms) -> bytes32:
    return keccak256(abi_encode(terms))


@internal
@view
def _domain() -> bytes32:
    return keccak256(abi_encode(DOMAIN_TYPE, NAME_HASH, VERSION_HASH, chain.id, self))


@internal
@view
def _check(
    terms: Terms,
    receipt: bytes32,
    rows: uint64,
    least: uint8,
    most: uint8,
    votes: DynArray[Vote, MAX_MEMBERS],
):
    """
    @dev A quorum of members signed outcomes from the least to the most about one receipt of these terms, each
         in words of its own about its evidence.
    """
    assert len(votes) >= threshold, "no quorum"
    domain: bytes32 = self._domain()
    last: uint160 = 0
    for vote: Vote in votes:
        assert least <= vote.outcome and vote.outcome <= most, "another outcome"
        struct_hash: bytes32 = keccak256(
            abi_encode(
                VERDICT_TYPE,
                receipt,
                terms.request,
                terms.model,
                terms.node,
                vote.auditor,
                vote.evidence,
                vote.outcome,
                vote.step,
                rows,
                vote.made,
            )
        )
        digest: bytes32 = keccak256(concat(x"1901", domain, struct_hash))
        assert vote.s <= HALF_ORDER, "not canonical"
        signer: address = ecrecover(digest, vote.v, vote.r, convert(vote.s, bytes32))
        assert self.is_member[signer], "not a member"
        # Ascending, so nobody counts twice.
        assert convert(signer, uint160) > last, "not in order"
        last = convert(signer, uint160)
