// Package clients holds many WebSocket clients cheaply: processes of their own
// (so that their CPU is accounted apart and descriptors scale), each with one
// epoll loop over raw sockets. A Hive drives them, over pipes or from another
// machine. The clients speak Homing's protocol or a peer's (see Dialect), know
// by a Plan what each of them should get, and can be made to suffer faults
// (see Storm and Stall).
package clients
