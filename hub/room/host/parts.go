package host

import (
	"fmt"
	"time"

	"golang.org/x/time/rate"

	"github.com/homing/homing/hub/room"
)

// parts are what a host is made of, each on those before it.
type parts struct {
	env     *env
	table   *table
	guide   *guide
	saver   *saver
	mover   *mover
	starter *starter
	server  *server
	adopter *adopter
	keeper  *keeper
	watcher *watcher
	drainer *drainer

	evacuator *evacuator
}

func assemble(cfg Config, deps Deps, secrets [][]byte, classes map[string]*room.Class) *parts {
	e := &env{Deps: deps, cfg: cfg, met: newMetrics(deps.Registry), began: time.Now(), drained: make(chan struct{})}
	p := &parts{env: e}
	p.table = &table{met: e.met, maxRooms: cfg.MaxRooms, maxSeats: cfg.MaxSeats, rooms: make(map[string]*running)}
	p.guide = &guide{env: e, secrets: secrets, table: p.table, lookups: make(chan lookup, maxLookups)}
	p.saver = &saver{env: e, table: p.table, waiting: make(chan *running, maxSaves)}
	p.mover = &mover{env: e, table: p.table, pace: rate.NewLimiter(rate.Limit(cfg.MoveRate), cfg.MoveRate)}
	p.starter = &starter{env: e, classes: classes, table: p.table, guide: p.guide, saver: p.saver, mover: p.mover}
	p.mover.starter = p.starter
	p.server = &server{env: e, table: p.table, guide: p.guide, starter: p.starter, mover: p.mover}
	p.adopter = &adopter{env: e, starter: p.starter, saver: p.saver, table: p.table, strangers: strangers{since: make(map[string]time.Time)}}
	p.keeper = &keeper{env: e, table: p.table, adopter: p.adopter}
	p.watcher = &watcher{env: e, table: p.table}
	p.drainer = &drainer{env: e, table: p.table, mover: p.mover, keeper: p.keeper}
	p.evacuator = &evacuator{env: e, drainer: p.drainer, table: p.table, keeper: p.keeper, changed: make(chan struct{}, 1)}
	return p
}

// byName is the classes by their names. The error says that one cannot be, or that
// two have the same name.
func byName(classes []*room.Class) (map[string]*room.Class, error) {
	all := make(map[string]*room.Class, len(classes))
	for _, c := range classes {
		if err := c.Validate(); err != nil {
			return nil, err
		}
		if all[c.Name] != nil {
			return nil, fmt.Errorf("two classes of rooms have the name %s", c.Name)
		}
		all[c.Name] = c
	}
	return all, nil
}
