package app

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os/signal"
	"reflect"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/homing/homing/cmd/homing/internal/logsink"
)

// logConfig says what is logged and how, always to standard error.
type logConfig struct {
	Level  slog.Level `help:"Least severe level logged: debug, info, warn or error." default:"info"`
	Queue  int        `help:"Bytes of log lines that may wait for whoever reads the standard error of a server; more are dropped and counted, so that no reader holds it up." default:"1048576" placeholder:"BYTES"`
	Format string     `help:"text for people, json for machines." enum:"text,json" default:"text"`
}

// minQueue holds a few lines.
const minQueue = 1024

// Validate reports the first setting that cannot work.
func (c logConfig) Validate() error {
	if c.Queue < minQueue || c.Queue > 1<<30 {
		return fmt.Errorf("log.queue: %d: want %d to %d", c.Queue, minQueue, 1<<30)
	}
	return nil
}

func (c logConfig) logger(w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: c.Level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// lostLines returns what tells of log lines that were dropped, in the log's own
// format.
func (c logConfig) lostLines(l logsink.Loss) []byte {
	var line bytes.Buffer
	c.logger(&line).Error("log lines were dropped", "lines", l.Lines, "since", l.Since)
	return line.Bytes()
}

// server is a command that serves until it is stopped. Nothing that becomes of
// its standard error may stop it or hold it up. Other commands write there
// directly: their reader may take its time, and ends them by going away.
type server interface{ server() }

func (*devCmd) server()   {}
func (*apiCmd) server()   {}
func (*frontCmd) server() {}

// flushLog is how long a server that ends waits for its log to be read.
const flushLog = time.Second

// shield returns a sink in front of stderr when the command that was chosen is
// a server, else nil.
func (c logConfig) shield(chosen *kong.Context, stderr io.Writer) *logsink.Sink {
	if _, ok := reflect.TypeAssert[server](chosen.Selected().Target.Addr()); !ok {
		return nil
	}
	signal.Ignore(syscall.SIGPIPE) // a write to descriptor 1 or 2 would end the process otherwise
	return logsink.New(stderr, logsink.Options{Bytes: c.Queue, Note: c.lostLines})
}
