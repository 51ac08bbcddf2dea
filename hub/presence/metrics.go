package presence

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// tellerMetrics are a Teller's.
type tellerMetrics struct {
	came, went      prometheus.Counter
	lookups, failed prometheus.Counter
	told, untold    prometheus.Counter
}

func newTellerMetrics(reg prometheus.Registerer) tellerMetrics {
	f := promauto.With(reg)
	moves := f.NewCounterVec(prometheus.CounterOpts{
		Name: "homing_presence_moves_total",
		Help: "Users who came online with their first connection, or went with their last.",
	}, []string{"move"})
	lookups := f.NewCounterVec(prometheus.CounterOpts{
		Name: "homing_presence_lookups_total",
		Help: "Times that a user's friends were looked up, by result; what failed is tried again.",
	}, []string{"result"})
	messages := f.NewCounterVec(prometheus.CounterOpts{
		Name: "homing_presence_messages_total",
		Help: "Messages to front processes that hold friends, by result: sent, or refused because the process has too much unconfirmed.",
	}, []string{"result"})
	return tellerMetrics{
		came: moves.WithLabelValues("online"), went: moves.WithLabelValues("offline"),
		lookups: lookups.WithLabelValues("ok"), failed: lookups.WithLabelValues("error"),
		told: messages.WithLabelValues("sent"), untold: messages.WithLabelValues("refused"),
	}
}
