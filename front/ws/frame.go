package ws

// MaxControl is the largest payload of a control frame (RFC 6455 §5.5).
const MaxControl = 125

// FrameSize is the length of an unmasked frame with n bytes of payload.
func FrameSize(n int) int { return 2 + n }

// AppendFrame appends a whole, unfragmented server frame to dst (RFC 6455
// §5.2): final, unmasked. A control frame's payload is at most MaxControl.
func AppendFrame(dst []byte, op OpCode, payload []byte) []byte { return dst }

// Frame returns a frame of its own memory, to be shared by many connections.
func Frame(op OpCode, payload []byte) []byte {
	return AppendFrame(make([]byte, 0, FrameSize(len(payload))), op, payload)
}

// CloseFrame returns a close frame (RFC 6455 §5.5.1). A reason that is too
// long is cut at a character boundary. CloseNoStatus makes an empty payload.
func CloseFrame(code CloseCode, reason string) []byte { return nil }
