package loop

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/homing/homing/hub/drop"
)

func TestTLSHandshakesThatComeToNothing(t *testing.T) {
	for result, client := range map[string]func(*rig, net.Conn, *tls.Config){
		tlsNotTLS: func(_ *rig, conn net.Conn, _ *tls.Config) { _, _ = io.WriteString(conn, "GET / HTTP/1.1\r\n\r\n") },
		tlsTooLarge: func(r *rig, conn net.Conn, cfg *tls.Config) {
			_, _ = io.WriteString(conn, helloOf(r.t, cfg)+strings.Repeat("x", 200<<10))
		},
		tlsAlert: func(_ *rig, conn net.Conn, _ *tls.Config) {
			_ = tls.Client(conn, &tls.Config{ServerName: "other"}).Handshake()
		},
		tlsFailed: func(_ *rig, conn net.Conn, cfg *tls.Config) {
			cfg.NextProtos = []string{"h2"}
			_ = tls.Client(conn, cfg).Handshake()
		},
		tlsTimeout: func(r *rig, conn net.Conn, cfg *tls.Config) { _, _ = io.WriteString(conn, helloOf(r.t, cfg)) },
		tlsAbandoned: func(r *rig, conn net.Conn, cfg *tls.Config) {
			_, _ = io.WriteString(conn, helloOf(r.t, cfg))
			_ = conn.Close()
		},
	} {
		t.Run(result, func(t *testing.T) {
			r, cfg := startTLS(t, func(cfg *Config, _ *lines) {
				if result == tlsTimeout {
					cfg.HandshakeTimeout = 300 * time.Millisecond
				}
			})
			client(r, r.dial(), cfg)
			r.gone(1)
			if n := r.handshakes(result); n != 1 {
				t.Errorf("%v counted, want 1", n)
			}
			if n := r.metric("homing_front_tls_handshakes_total"); n != 1 {
				t.Errorf("%v handshakes in all, want 1", n)
			}
			if n := r.metric("results", "tls"); n != 1 && result != tlsAbandoned {
				t.Errorf("%v connections counted, want 1", n)
			}
		})
	}
}

// As many handshakes run as may; the oldest gives way.
func TestTLSHandshakesAreBounded(t *testing.T) {
	r, client := startTLS(t, func(cfg *Config, _ *lines) { cfg.TLS.Handshakes = 2 })
	hello := helloOf(t, client)
	for i := range 5 {
		_, _ = io.WriteString(r.dial(), hello)
		wait(t, "the handshake", func() (begun bool) {
			r.on(func() { begun = r.Loop.handshakes.running.Len() == min(i+1, 2) && r.Loop.handshakes.waiting.Len() == 0 })
			return begun && r.handshakes(tlsCrowded) == float64(max(0, i-1))
		})
	}
	r.say(r.over(r.dial(), client), "x", 2)
	if n := r.handshakes(tlsCrowded); n != 4 {
		t.Errorf("%v gave way, want 4", n)
	}
}

// none lets no handshake begin until it is opened.
type none struct{ open bool }

func (n *none) Handshake() bool { return n.open }

func TestTLSHandshakesWaitForTheLimiter(t *testing.T) {
	limiter := &none{}
	r, client := startTLS(t, func(cfg *Config, _ *lines) { cfg.Limiter = limiter })
	raw := r.dial()
	done := make(chan error, 1)
	over := tls.Client(raw, client)
	go func() { done <- over.Handshake() }()
	wait(t, "a handshake that waits", func() bool { return r.metric("homing_front_tls_handshakes_waiting") == 1 })
	leaver := r.dial()
	_, _ = io.WriteString(leaver, helloOf(t, client))
	wait(t, "another one", func() bool { return r.metric("homing_front_tls_handshakes_waiting") == 2 })
	_ = leaver.Close()
	wait(t, "who left to be forgotten", func() bool { return r.metric("homing_front_tls_handshakes_waiting") == 1 })
	r.on(func() { limiter.open = true })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	r.say(over, "x", 2)
}

// A client that spends a budget in its handshake is dropped; the handler may end
// one that does so later, which reads why.
func TestTLSIsCharged(t *testing.T) {
	for _, during := range []bool{true, false} {
		open := false
		r, client := startTLS(t, func(_ *Config, h *lines) {
			h.charge = func(c *Conn[text], _ int) bool {
				switch {
				case c.Handshaking():
					return !during
				case !open || c.Ending():
					return true
				}
				h.r.End(c, []byte("enough"), false)
				return false
			}
		})
		over := tls.Client(r.dial(), client)
		err := over.Handshake()
		if during {
			if err == nil {
				t.Error("the handshake goes on")
			}
			r.gone(1)
			if n := r.handshakes(tlsTooLarge); n != 1 {
				t.Errorf("%v too large, want 1", n)
			}
			continue
		}
		r.say(over, "x", 2)
		r.on(func() { open = true })
		_, _ = io.WriteString(over, "one too many\n")
		if got := r.read(over, 6); got != "enough" {
			t.Errorf("read %q", got)
		}
		r.wantNotified(over)
		_ = over.Close()
		r.gone(1)
	}
}

// Records that carry next to nothing are a budget of their own.
func TestTLSRecordsAreCounted(t *testing.T) {
	for _, ends := range []bool{true, false} {
		var exceeded []Budget
		r, client := startTLS(t, func(cfg *Config, h *lines) {
			cfg.TLS.RecordRate, cfg.TLS.RecordBurst = 1, 10
			h.exceeded = func(c *Conn[text], what Budget) {
				exceeded = append(exceeded, what)
				if ends {
					h.r.End(c, []byte("enough"), false)
				}
			}
		})
		g := &gathered{Conn: r.dial(), holdAfter: 1 << 30}
		over := r.over(g, client)
		r.say(over, "x", 2)
		g.holdAfter = 0
		for range 20 {
			_, _ = io.WriteString(over, "x")
		}
		_, _ = g.buf.WriteTo(g.Conn)
		if ends {
			if got := r.read(over, 6); got != "enough" {
				t.Errorf("read %q", got)
			}
		}
		_ = g.Close()
		r.gone(1)
		r.on(func() {
			if !slices.Equal(exceeded, []Budget{TLSRecords}) {
				t.Errorf("exceeded %v", exceeded)
			}
		})
	}
}

// updater speaks TLS 1.3 beside a client, to ask for what crypto/tls never asks
// for: new keys, again and again (RFC 8446 §4.6.3).
type updater struct {
	t      testing.TB
	secret []byte // CLIENT_TRAFFIC_SECRET_N
	aead   cipher.AEAD
	iv     []byte
	serial uint64
}

// newUpdater goes on behind a handshake from its key log. The client itself
// writes nothing.
func newUpdater(tb testing.TB, keyLog string) *updater {
	tb.Helper()
	for line := range strings.Lines(keyLog) {
		if name := strings.Fields(line); name[0] == "CLIENT_TRAFFIC_SECRET_0" {
			secret, err := hex.DecodeString(name[2])
			if err != nil {
				tb.Fatal(err)
			}
			u := &updater{t: tb, secret: secret}
			u.derive()
			return u
		}
	}
	tb.Fatal("the key log has no secret")
	return nil
}

// expand is HKDF-Expand-Label without a context.
func (u *updater) expand(label string, n int) []byte {
	u.t.Helper()
	label = "tls13 " + label
	b, err := hkdf.Expand(sha256.New, u.secret, "\x00"+string(rune(n))+string(rune(len(label)))+label+"\x00", n)
	if err != nil {
		u.t.Fatal(err)
	}
	return b
}

func (u *updater) derive() {
	u.t.Helper()
	block, err := aes.NewCipher(u.expand("key", 16))
	if err != nil {
		u.t.Fatal(err)
	}
	if u.aead, err = cipher.NewGCM(block); err != nil {
		u.t.Fatal(err)
	}
	u.iv, u.serial = u.expand("iv", 12), 0
}

func (u *updater) record(kind byte, content string) []byte {
	inner := append([]byte(content), kind)
	head := binary.BigEndian.AppendUint16([]byte{23, 3, 3}, uint16(len(inner)+u.aead.Overhead()))
	nonce := bytes.Clone(u.iv)
	for i := range 8 {
		nonce[4+i] ^= byte(u.serial >> (56 - 8*i))
	}
	u.serial++
	return u.aead.Seal(head, nonce, inner, head)
}

// ask is a wish for new keys, and a byte with which it is not a useless record.
func (u *updater) ask() []byte {
	b := u.record(22, "\x18\x00\x00\x01\x01")
	u.secret = u.expand("traffic upd", len(u.secret))
	u.derive()
	return append(b, u.record(23, "x")...)
}

// A client that asks for answers of TLS itself, and does not read them, is
// dropped, also when the handler has dropped it already.
func TestTLSAnswersAreBounded(t *testing.T) {
	for hangsUp, drops := range []bool{true, false} { // who is dropped does not hang up
		var exceeded []Budget
		r, client := startTLS(t, func(_ *Config, h *lines) {
			h.exceeded = func(c *Conn[text], what Budget) {
				exceeded = append(exceeded, what)
				if drops {
					h.r.Drop(c, drop.Closed)
				}
			}
		})
		r.askForAnswers(client)
		r.gone(1)
		r.on(func() {
			if !slices.Equal(exceeded, []Budget{TLSAnswers}) || len(r.h.hungUp) != hangsUp {
				t.Errorf("exceeded %v, hung up %v", exceeded, r.h.hungUp)
			}
		})
	}
}

// askForAnswers goes on until the connection breaks.
func (r *rig) askForAnswers(client *tls.Config) {
	r.t.Helper()
	var keyLog strings.Builder
	client.KeyLogWriter = &keyLog
	raw := r.dialSlow()
	over := r.over(raw, client)
	if suite := over.ConnectionState().CipherSuite; suite != tls.TLS_AES_128_GCM_SHA256 {
		r.t.Fatalf("%s: the updater speaks AES-128 only, which Go chooses where the CPU has instructions for it", tls.CipherSuiteName(suite))
	}
	u := newUpdater(r.t, keyLog.String())
	wait(r.t, "the loop's side of the handshake", func() bool { return r.handshakes(tlsFull) == 1 })
	for range 10_000 {
		if _, err := raw.Write(u.ask()); err != nil {
			break
		}
	}
}
