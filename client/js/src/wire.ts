// Made from docs/asyncapi.yaml by scripts/wire.mjs: not to be changed by hand.

export type Hello = { t: "hello"; user: User; /** Names this connection in the server's logs. */ conn: string; /** The server understands resume and ack; left out when it does not. */ resume?: boolean; /** Milliseconds of silence after which the server gives a sign of life. */ ping: number };
export type Notify = { t: "notify"; /** The sender's idempotency key, or a ULID. Repeats have the same id. */ id: string; /** An inbox keeps it; the id to resume after. */ stored?: boolean; /** Kept until the client acknowledges it. */ ack?: boolean; /** The topics that it was sent to. */ topics?: Array<Topic>; /** A topic keeps it; the id to subscribe after. */ kept?: boolean; /** The player that published it; left out when a backend did. */ user?: string; /** The application's kind of event; left out when the sender gave none. */ type?: string; from?: Service; /** Any JSON value, as the sender wrote it; up to 64 KiB. */ data: unknown };
export type Resumed = { t: "resumed"; /** Nothing stored since has expired or been pushed out. */ recovered: boolean; /** Notifications that follow at once. */ count: number; /** Where to resume from next time; empty when the inbox never held anything. */ last: string; ref?: Ref };
export type Reconnect = { t: "reconnect"; after_ms: number; /** The host, and port, to connect to for one attempt; by the client's own scheme and path. Absent, wherever it came from. */ to?: string };
export type Friends = { t: "friends"; online: Array<{ user: string; /** What the friend's connections were opened from, each once. */ services: Array<string> }> };
export type Presence = { t: "presence"; user?: string; users?: Array<string>; online: boolean; services?: Array<string> };
export type Place = { t: "place" };
export type Closing = { t: "closing"; /** A close code of protocol.md. */ code: number; reason: string };
export type Ok = { t: "ok"; ref?: Ref };
export type Error = { t: "error"; code: "bad_json" | "unknown_type" | "too_early" | "already_resumed" | "unavailable" | "rate_limited" | "ticket_bad" | "ticket_expired" | "ticket_other" | "room_ended" | "no_seat" | "no_room" | "not_seated" | "too_much" | "too_large" | "not_json" | "no_queue" | "not_allowed" | "too_many_queues" | "queue_full" | "no_rooms" | "no_ticket" | "undecided" | "not_asked" | "bad_topic" | "too_many_topics" | "already_subscribed" | "not_subscribed" | "no_history"; /** The kind of message that was refused. */ of?: "resume" | "ack" | "join" | "say" | "leave" | "match" | "unmatch" | "accept" | "subscribe" | "unsubscribe" | "publish"; /** Of room_ended - how the room has ended; left out when that is not known. */ reason?: string; /** Of say - how many messages were refused since the tick before; left out where it is the one with the ref. */ count?: number; ref?: Ref };
export type Ping = { t: "ping"; ref?: Ref };
export type Resume = { t: "resume"; /** Where the client stands - last of its latest resumed, or the id of a later notification with stored; empty for nothing. */ after?: string; ref?: Ref };
export type Ack = { t: "ack"; id?: string; ids?: Array<string>; ref?: Ref };
export type Ticket = string;
export type Room = string;
export type Join = { t: "join"; ticket: Ticket; /** Number of the last event that was dealt with. */ n?: number; ref?: Ref };
export type Joined = { t: "joined"; room: Room; class: string; seat: number; /** Ticks in a second. */ hz: number; /** Frames come as binary messages; left out when they do not. */ binary?: boolean; /** Grows with each process that runs the room. */ epoch: number; ticket: Ticket; ref?: Ref };
export type Say = { t: "say"; /** Any JSON value of up to 16 KiB. */ data: unknown; ref?: Ref };
export type Leave = { t: "leave"; ref?: Ref };
export type Left = { t: "left"; room: Room; why: "left" | "kicked" | "replaced" | "closed"; /** Of closed one of finished, closed, idle, failed, stuck and lost; of kicked for people. Else left out. */ reason?: string; ref?: Ref };
export type Frame = { t: "frame"; tick: number; /** In the first frame of a connection only, which has all state. False when events are missing. */ recovered?: boolean; events?: Array<{ /** Grows; by more than 1 when others were told something, and after a crash. */ n: number; from?: User; /** Any JSON value. */ data: unknown }>; /** Values that have changed, by key; null says that there is none any more. */ state?: Record<string, unknown> };
export type Moved = { t: "moved"; room: Room; url: string; ticket: Ticket; ref?: Ref };
export type Subscribe = { t: "subscribe"; topic: Topic; /** The id of the last kept message that was dealt with, or empty; what was kept since is told. */ after?: string; ref?: Ref };
export type Subscribed = { t: "subscribed"; topic: Topic; /** Nothing kept since has been given up; with after. */ recovered?: boolean; /** Messages that follow at once; with after. */ count?: number; /** The newest that was ever kept; with after. */ last?: string; ref?: Ref };
export type Unsubscribe = { t: "unsubscribe"; topic: Topic; ref?: Ref };
export type Unsubscribed = { t: "unsubscribed"; topic: Topic; ref?: Ref };
export type Publish = { t: "publish"; topic: Topic; type?: string; /** Any JSON value of up to 16 KiB. */ data: unknown; /** Made up by the client; the same when it sends the message again, not knowing whether it arrived. */ id?: string; ref?: Ref };
export type Published = { t: "published"; /** The notification's */ id: string; ref?: Ref };
export type Topic = string;
export type Match = { t: "match"; queue: Queue; rating?: number; labels?: Array<string>; ref?: Ref };
export type Unmatch = { t: "unmatch"; queue: Queue; ref?: Ref };
export type Accept = { t: "accept"; queue: Queue; /** Left out it is false. */ yes?: boolean; ref?: Ref };
export type Queue = string;
export type Ref = unknown;
export type User = string;
export type Service = string;

/** What a server says. */
export type ServerMessage = Notify | Hello | Resumed | Place | Reconnect | Friends | Presence | Frame | Moved | Left | Closing | Error | Subscribed | Unsubscribed | Ok | Joined | Published;

/** What a client says. */
export type ClientMessage = Ping | Resume | Ack | Join | Say | Leave | Subscribe | Unsubscribe | Publish | Match | Unmatch | Accept;
