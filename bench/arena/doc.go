// Package arena has players play in the game rooms of a system, and reads what
// the system, the players and the machine spend meanwhile.
package arena
