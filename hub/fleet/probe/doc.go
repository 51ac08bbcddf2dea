// Package probe finds out whether players can reach the nodes of a fleet: it connects to
// each as a player does, by a WebSocket with a token, and has a message answered. A node
// that fails several times in a row is red, until it answers again.
//
// The workers of a node share its port, and the kernel gives each connection to one of
// them. So one probe is about one worker: a node is red by its probes when all of its
// workers fail, or one by chance so many times in a row. That a single worker says
// nothing its missing reports show, and its master (front/master) takes its sockets away.
package probe
