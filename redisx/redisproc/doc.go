// Package redisproc starts and stops real redis-server and redis-sentinel
// processes on this machine, memory only, for tests, drills, development and
// the local topology of make up.
package redisproc
