# pragma version 0.4.3
# pragma optimize gas
# pragma evm-version cancun
"""
@title WAVE registry
@notice Three things that signatures cannot settle among strangers: un-saying, naming, and when.
@dev Nobody owns it, nothing in it can be changed back, and anyone may pay for anyone's entry.
     What is published or anchored lives in events only. Storage holds revocations (slot 0) and
     aliases (slot 1), so that presence and absence can both be proved against a block header, and
     commitments to claims (slot 2) until they are used. What is refused is refused without a word:
     the reasons can be read from storage, and words would make deploying dear.
"""

event Published:
    data: Bytes[8192]

event Anchored:
    root: indexed(bytes32)
    count: uint256

event Revoked:
    commitment: indexed(bytes32)

event Claimed:
    label: bytes32
    target: bytes32

# commitment -> number of the block in which its preimage was shown; 0: never
revoked: public(HashMap[bytes32, uint256])

# label, padded with zero bytes on the right -> entity id; zero: free
alias: public(HashMap[bytes32, bytes32])

# keccak256(label ++ target ++ salt) -> number of the first block that held it; 0: none, or used up
committed: public(HashMap[bytes32, uint256])


@external
def publish(data: Bytes[8192]):
    """
    @notice Say `data` in public, in an event; whether it means anything is for the reader to check.
    """
    log Published(data=data)


@external
def anchor(root: bytes32, count: uint256):
    """
    @notice Put a time on the `count` objects under the Merkle root `root`.
    """
    log Anchored(root=root, count=count)


@external
def revoke(preimages: DynArray[bytes32, 64]):
    """
    @notice Revoke, for ever, every object that commits to the SHA-256 of one of `preimages`.
    @dev What is revoked already stays at its first height, so a repetition is harmless.
    """
    for preimage: bytes32 in preimages:
        commitment: bytes32 = sha256(preimage)
        if self.revoked[commitment] == 0:
            self.revoked[commitment] = block.number
            log Revoked(commitment=commitment)


@external
def commit(commitment: bytes32):
    """
    @notice Announce a claim without saying which: `commitment` is keccak256(label ++ target ++ salt).
    @dev The first height stays, so that nobody can make somebody else's commitment younger.
    """
    if self.committed[commitment] == 0:
        self.committed[commitment] = block.number


@external
def claim(label: bytes32, target: bytes32, salt: bytes32):
    """
    @notice Give the name `label` to `target`, for ever; first come, first served.
    @dev Takes a commitment from an earlier block, which whoever only sees this call cannot have.
         It is cleared, and the refund pays for the check. An empty label is nobody's name: readers leave it out.
    """
    commitment: bytes32 = keccak256(abi_encode(label, target, salt))
    height: uint256 = self.committed[commitment]
    assert unsafe_sub(height, 1) < unsafe_sub(block.number, 1)  # there is one, from an earlier block
    assert target != empty(bytes32)
    assert self.alias[label] == empty(bytes32)
    self.committed[commitment] = 0
    self.alias[label] = target
    log Claimed(label=label, target=target)
