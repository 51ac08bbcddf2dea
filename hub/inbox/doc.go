// Package inbox keeps notifications for users who are away, or who have not
// acknowledged them, in Redis Streams.
//
// A user's inbox is a stream, ordered by position: the millisecond at which an
// entry was stored, or one more than the position before. Beside it stand the
// positions of the last ids it held, so that a client which names one is
// understood when the entry is gone, and the newest position that was given up
// because its time was over or the inbox full: by that it is told whether it
// missed something for good.
//
// All of it is on the inbox's shard of the user and goes by itself. The stream
// lives as long as its longest entry, the rest for Config.MaxAge after the
// last notification.
package inbox
