package stack

// Program is the homing binary that the stack's servers are, and the file of options that
// they have: for who starts one of his own.
func (s *Stack) Program() (binary, config string) {
	return s.Front.binary, s.dir.configFile()
}
