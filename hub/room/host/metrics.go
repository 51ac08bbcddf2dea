package host

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	rooms, seats, stuck prometheus.Gauge
	ended, joins        *prometheus.CounterVec
	refused, moves      *prometheus.CounterVec
	adopted             *prometheus.CounterVec
	checkpoints         *prometheus.CounterVec
	ticks, overruns     prometheus.Counter
	frames, encoded     prometheus.Counter
	messages            prometheus.Counter
	tickSeconds         prometheus.Histogram
	moveSeconds         prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	vec := func(name, label, help string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	}
	return &metrics{
		rooms: gauge("homing_room_rooms", "Rooms that this process runs."),
		seats: gauge("homing_room_seats", "Seats of its rooms that are reserved or taken."),
		stuck: gauge("homing_room_stuck", "Rooms that were ended because their logic did not return, and has not yet."),
		ended: vec("homing_room_ended_total", "reason", "Rooms that have ended here, by reason."),
		joins: vec("homing_room_joins_total", "result", "Connections that wanted to join a room, by result: joined, moved (told where the room is), or the code of the refusal."),
		refused: vec("homing_room_refused_total", "code",
			"Messages of members that were refused, by code."),
		moves:       vec("homing_room_moves_total", "result", "Rooms handed over to another process, by result: moved, refused (goes on here)."),
		adopted:     vec("homing_room_adopted_total", "result", "Rooms of dead processes, by result: restored, lost (no checkpoint), failed."),
		checkpoints: vec("homing_room_checkpoints_total", "result", "Checkpoints, by result: written, failed, delayed (too many rooms waited), late (the next owner's stands)."),
		ticks:       counter("homing_room_ticks_total", "Ticks that were run."),
		overruns:    counter("homing_room_overruns_total", "Ticks that were left out because the room was late."),
		frames:      counter("homing_room_frames_total", "Frames that were sent to members."),
		encoded:     counter("homing_room_frames_encoded_total", "Different frames among those."),
		messages:    counter("homing_room_messages_total", "Messages of members that were taken."),
		tickSeconds: f.NewHistogram(prometheus.HistogramOpts{
			Name: "homing_room_tick_seconds", Help: "How long a room worked at one tick.",
			Buckets: prometheus.ExponentialBuckets(0.00001, 4, 10),
		}),
		moveSeconds: f.NewHistogram(prometheus.HistogramOpts{
			Name: "homing_room_move_seconds", Help: "How long a room stood still while it was handed over.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
		}),
	}
}
