package main

import (
	"io"
	"log/slog"
	"runtime/debug"
)

// logConfig says what is logged and how, always to standard error.
type logConfig struct {
	Level  slog.Level `help:"Least severe level logged: debug, info, warn or error." default:"info"`
	Format string     `help:"text for people, json for machines." enum:"text,json" default:"text"`
}

func (c logConfig) logger(w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: c.Level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// version is the module's version, or the commit the binary was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return info.Main.Version + " " + info.GoVersion
}
