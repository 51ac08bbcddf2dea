// Package bees holds many WebSocket clients cheaply: processes of their own
// (so that their CPU is accounted apart and descriptors scale), each with one
// epoll loop over raw sockets. The parent drives them over pipes.
package bees
