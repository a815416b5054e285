# pragma version 0.4.3
# pragma evm-version cancun
"""
@title Roots of receipts
@license Apache-2.0
@notice Keeps when who first published a root, and checks that a leaf is in a tree.
@dev Trees are those of RFC 6962, section 2.1, over leaves that are hashed already: SHA-256, where 0x00 stands
     before a leaf's data and 0x01 before two nodes. Roots are their publisher's: nobody can publish for others,
     or before them in their name.
"""

event Anchored:
    publisher: indexed(address)
    root: indexed(bytes32)
    size: uint256


MAX_PATH: constant(uint256) = 64

# When a publisher first published a root of a tree of this size, in seconds since 1970; 0 if never.
anchored: public(HashMap[address, HashMap[bytes32, HashMap[uint256, uint256]]])


@external
def anchor(root: bytes32, size: uint256):
    """
    @notice Publish the root of a tree with so many leaves. A second time changes nothing, and fails.
    """
    assert 0 < size and size < 2**63, "no tree"
    assert self.anchored[msg.sender][root][size] == 0, "anchored before"
    self.anchored[msg.sender][root][size] = block.timestamp
    log Anchored(publisher=msg.sender, root=root, size=size)


@external
@view
def included(
    publisher: address, root: bytes32, size: uint256, index: uint256, leaf: bytes32, path: DynArray[bytes32, MAX_PATH]
) -> uint256:
    """
    @notice When the publisher first published a tree that has this leaf at this place.
    @param leaf The leaf's hash, 0x00 included.
    @param path The hashes beside the way to the root, from below (RFC 9162, section 2.1.3.2).
    @dev Fails if the tree was not published or does not have the leaf.
    """
    when: uint256 = self.anchored[publisher][root][size]
    assert when > 0, "not anchored"
    assert index < size, "no such leaf"
    first: uint256 = index
    last: uint256 = size - 1
    found: bytes32 = leaf
    for beside: bytes32 in path:
        assert last > 0, "path too long"
        if first % 2 == 1 or first == last:
            found = sha256(concat(x"01", beside, found))
            # A node without a sibling rises to where it has one.
            for i: uint256 in range(MAX_PATH):
                if first % 2 == 1 or first == 0:
                    break
                first = first >> 1
                last = last >> 1
        else:
            found = sha256(concat(x"01", found, beside))
        first = first >> 1
        last = last >> 1
    assert last == 0, "path too short"
    assert found == root, "not in the tree"
    return when
