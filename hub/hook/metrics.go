package hook

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// errReply marks a reply of a script that is not one of ours.
var errReply = errors.New("unexpected reply")

// Why a publisher loses an event.
const (
	lostInvalid    = "invalid"     // no type, no subject, or data that is not JSON
	lostTooLarge   = "too_large"   // larger than MaxBody
	lostQueueFull  = "queue_full"  // Redis is away, and as much waits for it as may
	lostStopped    = "stopped"     // the process ended before Redis had it
	lostRefused    = "refused"     // Redis will not ever take it
	lostStreamFull = "stream_full" // the backend takes nothing, and as much waits for it as may
)

// Why a sender gives an event up.
const (
	givenUpExpired   = "expired"   // it was not taken for MaxAge
	givenUpMalformed = "malformed" // somebody else wrote it
)

type publisherMetrics struct {
	published prometheus.Counter
	retries   prometheus.Counter
	lost      *prometheus.CounterVec
}

func newPublisherMetrics(reg prometheus.Registerer, waiting func() float64) publisherMetrics {
	f := promauto.With(reg)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "homing_hook_queue_bytes", Help: "Bytes of events that wait to be written to Redis.",
	}, waiting)
	m := publisherMetrics{
		published: f.NewCounter(prometheus.CounterOpts{
			Name: "homing_hook_published_total", Help: "Events written to Redis.",
		}),
		retries: f.NewCounter(prometheus.CounterOpts{
			Name: "homing_hook_publish_retries_total", Help: "Writes to Redis that failed and were tried again.",
		}),
		lost: f.NewCounterVec(prometheus.CounterOpts{
			Name: "homing_hook_lost_total", Help: "Events that were lost before a sender had them, by reason, and by endpoint unless they were lost for all.",
		}, []string{"reason", "endpoint"}),
	}
	for _, why := range []string{lostInvalid, lostTooLarge, lostQueueFull, lostStopped} {
		m.lost.WithLabelValues(why, "")
	}
	return m
}

// know shows the counts of an endpoint.
func (m *publisherMetrics) know(endpoint string) {
	for _, why := range []string{lostQueueFull, lostRefused, lostStreamFull} {
		m.lost.WithLabelValues(why, endpoint)
	}
}

type senderMetrics struct {
	requests *prometheus.CounterVec
	failures *prometheus.CounterVec
	seconds  prometheus.Histogram
	lag      prometheus.Histogram
	givenUp  *prometheus.CounterVec
	repeated prometheus.Counter
	unwanted prometheus.Counter
	held     prometheus.Gauge // partitions
	gone     prometheus.Gauge
}

func newSenderMetrics(reg prometheus.Registerer, s *Sender) senderMetrics {
	f := promauto.With(reg)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "homing_hook_stream_bytes", Help: "Bytes of events that wait in the partitions that this process sends from.",
	}, s.streamBytes)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "homing_hook_oldest_seconds", Help: "Age of the oldest event that waits in the partitions that this process sends from.",
	}, s.oldest)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "homing_hook_held_subjects", Help: "Subjects whose event failed, and waits for another try.",
	}, s.heldSubjects)
	m := senderMetrics{
		requests: f.NewCounterVec(prometheus.CounterOpts{
			Name: "homing_hook_requests_total", Help: "Requests to the backend, by whether it took the events (delivered, failed, gone).",
		}, []string{"result"}),
		failures: f.NewCounterVec(prometheus.CounterOpts{
			Name: "homing_hook_failures_total", Help: "Requests that failed, by reason.",
		}, []string{"reason"}),
		seconds: f.NewHistogram(prometheus.HistogramOpts{
			Name: "homing_hook_request_seconds", Help: "Time of a request to the backend.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
		}),
		lag: f.NewHistogram(prometheus.HistogramOpts{
			Name: "homing_hook_delivery_seconds", Help: "Time from the publishing of an event to its delivery.",
			Buckets: prometheus.ExponentialBuckets(0.01, 3, 14),
		}),
		givenUp: f.NewCounterVec(prometheus.CounterOpts{
			Name: "homing_hook_given_up_total", Help: "Events that a sender gave up, by reason.",
		}, []string{"reason"}),
		repeated: f.NewCounter(prometheus.CounterOpts{
			Name: "homing_hook_repeats_avoided_total", Help: "Events that came up again after they were delivered by this process, and were not sent again.",
		}),
		unwanted: f.NewCounter(prometheus.CounterOpts{
			Name: "homing_hook_unwanted_total", Help: "Events of types that the endpoint does not want.",
		}),
		held: f.NewGauge(prometheus.GaugeOpts{
			Name: "homing_hook_partitions", Help: "Partitions that this process sends from.",
		}),
		gone: f.NewGauge(prometheus.GaugeOpts{
			Name: "homing_hook_gone", Help: "1 when the backend has answered 410 Gone: this process sends it nothing until it is started again.",
		}),
	}
	for _, v := range []Verdict{Failed, Delivered, Gone} {
		m.requests.WithLabelValues(v.String())
	}
	for why := range Failures {
		m.failures.WithLabelValues(why.String())
	}
	for _, why := range []string{givenUpExpired, givenUpMalformed} {
		m.givenUp.WithLabelValues(why)
	}
	return m
}
