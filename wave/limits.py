"""Every bound on foreign data and on time, in one frozen record."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds in bytes, counts or seconds; each is tested at the bound and one past it."""

    object_bytes: int = 8 * 1024
    nesting: int = 32  # arrays within arrays, in values without a fixed shape
    grants_per_dot: int = 32
    permissions_per_grant: int = 64
    permission_characters: int = 64
    conditions_per_grant: int = 16
    condition_arguments: int = 64
    cells_per_pattern: int = 32
    pattern_bytes: int = 1024
    pattern_cache: int = 8192  # patterns remembered taken apart
    commitments_per_object: int = 8
    text_characters: int = 1024  # a contact or a comment
    label_bytes: int = 32
    dots_per_path: int = 32
    dots_per_proof: int = 256
    entities_per_proof: int = 512
    paths_per_proof: int = 64
    hops_per_proof: int = 1024  # over all its paths
    explained_paths: int = 16  # paths that an explanation goes through, for each statement
    proof_bytes: int = 256 * 1024
    statements_per_request: int = 64
    context_values: int = 64
    latest_time: int = 253_402_300_799  # 9999-12-31T23:59:59Z
    max_staleness: int = 120  # seconds by which facts may lag behind the clock
    facts_kept: float = 0.05  # seconds for which a process uses what its agent said before it asks again
    clock_skew: int = 60  # seconds by which a block or a message may run ahead of the clock
    graph_givers: int = 512  # givers of a graph whose own rights are looked at
    search_edges: int = 2_000_000  # DoTs that one search may look at
    signature_cache: int = 65_536  # good signatures remembered, by object id
    verdict_cache: int = 4_096
    message_bytes: int = 512 * 1024
    message_lifetime: int = 300  # seconds for which a message may be valid
    content_type_characters: int = 128
    frame_bytes: int = 800 * 1024  # between peer and router: a message, its proof and the words around them
    queue_frames: int = 256  # waiting for one connection of a router, or for one subscription of a peer
    queue_bytes: int = 4 * 1024 * 1024
    connections: int = 1024  # to one router
    subscriptions_per_connection: int = 256
    replay_window: int = 65_536  # messages remembered by one receiver until they expire
    replay_window_per_sender: int = 16_384
    rate_counters: int = 65_536  # DoTs with a rate that one guard counts
    rate_counter_entries: int = 1024  # seconds told apart by one such counter
    proofs_kept: int = 256  # by one peer, for what it does again and again
    decision_log_bytes: int = 4 * 1024 * 1024  # of a device, before its older half is dropped
    request_bytes: int = 1024 * 1024  # body of a call to the agent or the node
    batch_objects: int = 4_096  # objects under one anchored root
    batch_bytes: int = 4 * 1024 * 1024
    batch_seconds: float = 10.0  # for a batch to come from one source
    promise_blocks: int = 1_024  # from the newest block to the one by which a promise is to be kept
    header_bytes: int = 2048  # of a block; most have 600 to 700
    trie_node_bytes: int = 1024  # of a Merkle-Patricia proof; a full branch has 532
    staple_commitments: int = 1024
    staple_bytes: int = 512 * 1024
    reorg_blocks: int = 128  # deepest reorganisation followed: twice what Ethereum takes to make a block final
    objects_parsed: int = 4_096  # records of entities, and DoTs, kept parsed; the others are held as bytes
    embedded_block_age: int = 15  # seconds after which the embedded node makes an empty block when asked for its head
    lock_wait: float = 5.0  # seconds that a one-shot command waits for the state directory


LIMITS = Limits()
