package bench

import (
	"reflect"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/homing/homing/front"
)

// TestDefaultsAreTheFlags ties what a scenario without a flag gets to the
// default that the flag has elsewhere.
func TestDefaultsAreTheFlags(t *testing.T) {
	if got, want := defaultOptions(), defaults(t); !reflect.DeepEqual(got, want) {
		t.Errorf("defaultOptions = %+v, want %+v", got, want)
	}
}

func TestOptionsOfKeepsWhatWasGiven(t *testing.T) {
	var f StormFlags
	f.Conns, f.Apart, f.Online, f.Workers, f.Rate = 7, 3, 5, 9, 1.5
	o := OptionsOf(f)
	if o.Conns != 7 || o.Apart != 3 || o.Online != 5 || o.Workers != 9 || o.Rate != 1.5 || o.Scale != 1 {
		t.Errorf("OptionsOf = %+v", o)
	}
}

// TestChoicesAreTheFronts holds what a scenario copies of the front's defaults
// to them.
func TestChoicesAreTheFronts(t *testing.T) {
	var f front.Config
	if err := kong.ApplyDefaults(&f); err != nil {
		t.Fatal(err)
	}
	if stormAdmits != f.AdmitRate {
		t.Errorf("storm lets %d in per second, the front %d", stormAdmits, f.AdmitRate)
	}
	if idleTime != 2*f.PingInterval {
		t.Errorf("idle rests for %v, two rounds of pings take %v", idleTime, 2*f.PingInterval)
	}
	// Connections are spread by the kernel, to about 2%; the rest is for what a
	// worker has open beside them.
	const descriptors, few = 20_000, 200
	if room := descriptors - descriptors/20 - f.Pending - few; workerConns*102/100 > room {
		t.Errorf("a worker is planned to hold %d connections, and has room for %d", workerConns, room)
	}
}
