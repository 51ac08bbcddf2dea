// Package lobby plays game backends that ask for matches. It puts tickets through
// the API servers of a system on a schedule that does not wait, watches when their
// players are told, asks at the end what has become of each, and judges whether
// anybody was lost or was matched twice.
package lobby
