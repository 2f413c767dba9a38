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
    urls_per_endpoint: int = 8  # at which a router is reached
    url_characters: int = 256
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
    message_lifetime: int = 300  # seconds for which a message may be valid, and new
    persist_lifetime: int = 365 * 86_400  # seconds for which a message that is kept may be valid
    payloads_per_message: int = 16
    sheaf_messages: int = 64  # signed together
    sheaves_known: int = 4_096  # good signatures of sheaves remembered by one receiver
    rights_known: int = 4_096  # senders' rights remembered by one receiver between two facts
    newest_known: int = 16_384  # (sender, resource) pairs of which a receiver remembers the newest message
    senders_watched: int = 4_096  # whose sequence numbers a receiver compares
    content_type_characters: int = 128
    frame_bytes: int = 800 * 1024  # between peer and router: a message, its proof and the words around them
    parcel_frames: int = 64  # sent at once
    parcel_bytes: int = 256 * 1024  # after which no further frame is added
    proofs_known: int = 1_024  # by one side of a connection, so that they need not be sent again
    proofs_known_bytes: int = 16 * 1024 * 1024
    proofs_given: int = 16  # held for one connection before a message that they prove was accepted
    queue_frames: int = 256  # waiting for one connection of a router, or for one subscription of a peer
    queue_bytes: int = 4 * 1024 * 1024
    connections: int = 1024  # to one router
    subscriptions_per_connection: int = 256
    replay_window: int = 65_536  # messages remembered by one receiver until they expire
    replay_window_per_sender: int = 16_384
    replay_namespaces: int = 1_024  # that share the window, each of which is sure of its part
    marks_bytes: int = 4 * 1024 * 1024  # of a file of replay marks, before it is written anew
    recent_messages: int = 4_096  # that a router holds for those who were away for a moment
    recent_bytes: int = 8 * 1024 * 1024
    kept_per_resource: int = 64  # messages that a router keeps of each resource
    kept_per_namespace: int = 65_536
    kept_messages: int = 1_000_000
    kept_bytes: int = 1024 * 1024 * 1024
    query_messages: int = 1_024  # in one answer
    listed_resources: int = 4_096  # in one answer
    listed_per_frame: int = 256
    rate_counters: int = 65_536  # DoTs with a rate that one guard counts
    rate_counter_entries: int = 1024  # seconds told apart by one such counter
    proofs_kept: int = 256  # by one peer, for what it does again and again
    decision_log_bytes: int = 4 * 1024 * 1024  # of a device, before its older half is dropped
    assistant_payload_bytes: int = 8 * 1024  # of a command from Home Assistant
    assistant_orders: int = 32  # commands from Home Assistant that wait for one device
    mqtt_waiting: int = 64  # messages of one receiver that wait for their proofs
    mqtt_rules: int = 4096  # that one entity may need on a broker
    mqtt_entities: int = 4096  # that one broker is locked for
    request_bytes: int = 1024 * 1024  # body of a call to the agent or the node
    http_header_bytes: int = 4096  # of one field that is about a request's signature
    http_proof_bytes: int = 64 * 1024  # of the field that holds its proof
    http_body_bytes: int = 1024 * 1024  # of a guarded request, unless a service takes more
    routes_known: int = 4_096  # methods and paths of which a guard remembers what they need
    sessions: int = 4_096  # of one guard
    sessions_per_sender: int = 64
    session_lifetime: int = 3600  # seconds
    session_window: int = 1024  # requests of a session that may overtake one another
    model_bytes: int = 256 * 1024 * 1024  # of a model's file
    model_manifest_bytes: int = 512 * 1024
    model_versions: int = 64  # kept of each model
    models: int = 256  # and applications, of one gateway
    model_replicas: int = 32  # of each model
    model_queue: int = 4_096  # questions that wait for one model
    model_batch: int = 512  # questions that a model is asked at once
    model_reply_bytes: int = 64 * 1024 * 1024  # of a replica, to one batch
    questions_per_request: int = 4_096
    results_kept: int = 65_536  # by a gateway's cache
    results_kept_bytes: int = 64 * 1024 * 1024
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
