package usage

import (
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

// start runs a shell script until the test ends, and returns how to end it
// sooner.
func start(t *testing.T, script string) (pid int, stop func()) {
	t.Helper()
	cmd := exec.Command("sh", "-c", script)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Cleanup(stop)
	return cmd.Process.Pid, stop
}

func read(t *testing.T, s *Sampler) Reading {
	t.Helper()
	r, err := s.Read()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// readAfter reads once the process has used that much CPU time.
func readAfter(t *testing.T, s *Sampler, pid int, used time.Duration) Reading {
	t.Helper()
	for {
		now, err := cpu(pid)
		if err != nil {
			t.Fatal(err)
		}
		if now >= used {
			return read(t, s)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestSampler(t *testing.T) {
	busy, _ := start(t, "while :; do :; done")
	calm, _ := start(t, "exec sleep 60")
	s := NewSampler(
		Group{"both", func() ([]int, error) { return []int{busy, calm, 1 << 30}, nil }},
		Group{"none", func() ([]int, error) { return nil, nil }})
	before := read(t, s)
	after := readAfter(t, s, busy, 300*time.Millisecond)
	both := after.Groups["both"]
	if both.Processes != 2 || both.RSS <= 0 || both.HottestPID != busy || both.Hottest > both.CPU {
		t.Errorf("spent %+v, want two processes, the hottest %d", both, busy)
	}
	i := after.Since(before)
	used := i.Groups["both"]
	if used.HottestPID != busy || used.Hottest <= 0 || used.Hottest > used.Cores*1.001 {
		t.Errorf("used %+v, want most by %d", used, busy)
	}
	if math.Abs(used.Cores*i.Took.Seconds()-used.CPU.Seconds()) > 1e-6 {
		t.Errorf("%v of CPU in %v are not %v cores", used.CPU, i.Took, used.Cores)
	}
	if i.Groups["none"] != (Used{}) {
		t.Errorf("no process used %+v", i.Groups["none"])
	}
	if machine := i.Busy * i.Took.Seconds(); machine < used.CPU.Seconds()-0.06 || i.Busy > float64(i.Cores)+0.5 {
		t.Errorf("%d cores were busy for %.3fs, one group alone for %v", i.Cores, machine, used.CPU)
	}
}

// TestSamplerKeepsTheDead lets a process end, and its place be taken.
func TestSamplerKeepsTheDead(t *testing.T) {
	first, stop := start(t, "while :; do :; done")
	pids := []int{first}
	s := NewSampler(Group{"g", func() ([]int, error) { return pids, nil }})
	before := readAfter(t, s, first, 100*time.Millisecond)
	stop()
	dead := read(t, s).Groups["g"]
	if dead.CPU != before.Groups["g"].CPU || dead.Processes != 0 || dead.HottestPID != 0 {
		t.Errorf("after its end the process counts as %+v, want the CPU of %+v", dead, before.Groups["g"])
	}
	second, _ := start(t, "while :; do :; done")
	pids = []int{second}
	after := readAfter(t, s, second, 50*time.Millisecond)
	if got := after.Groups["g"].CPU - dead.CPU; got < 50*time.Millisecond || got != after.Groups["g"].Hottest {
		t.Errorf("the second process adds %v, of its %v", got, after.Groups["g"].Hottest)
	}
	if used := after.Since(before).Groups["g"]; used.HottestPID != second || used.CPU != after.Groups["g"].CPU-dead.CPU {
		t.Errorf("used = %+v, want what %d used", used, second)
	}
}

func TestSamplerSaysWhichGroup(t *testing.T) {
	broken := errors.New("broken")
	_, err := NewSampler(Group{"front", func() ([]int, error) { return nil, broken }}).Read()
	if !errors.Is(err, broken) || err.Error() != "list the processes of front: broken" {
		t.Errorf("Read = %v", err)
	}
}

// TestCPUAgreesWithStat sets the fine clock between two looks at the coarse.
func TestCPUAgreesWithStat(t *testing.T) {
	pid, _ := start(t, "while :; do :; done")
	time.Sleep(100 * time.Millisecond)
	low := coarse(t, pid)
	fine, err := cpu(pid)
	if err != nil {
		t.Fatal(err)
	}
	if high := coarse(t, pid) + 2*tick; fine < low || fine > high {
		t.Errorf("CPU = %v, want %v to %v", fine, low, high)
	}
}

func coarse(t *testing.T, pid int) time.Duration {
	t.Helper()
	fields, err := stat(pid)
	if err != nil {
		t.Fatal(err)
	}
	spent, err := ticks(fields[11:13]...)
	if err != nil {
		t.Fatal(err)
	}
	return spent[0] + spent[1]
}

// TestDescriptors compares two processes that differ by three open files.
func TestDescriptors(t *testing.T) {
	const rest = "echo; read line" // starts nothing, which would open files of its own meanwhile
	few, many := startAndHear(t, rest), startAndHear(t, "exec 7</dev/null 8</dev/null 9</dev/null;"+rest)
	a, errA := descriptors(few)
	b, errB := descriptors(many)
	if errA != nil || errB != nil || b-a != 3 {
		t.Errorf("descriptors = %d, %v and %d, %v, want three more", a, errA, b, errB)
	}
	listed, err := os.ReadDir(proc(many, "fd"))
	if err != nil || len(listed) != b {
		t.Errorf("%d listed, %v; counted %d", len(listed), err, b)
	}
	if _, err := descriptors(1 << 30); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of a process that is not there: %v", err)
	}
}

// startAndHear runs a shell script until the test ends, and returns once it has
// printed something.
func startAndHear(t *testing.T, script string) (pid int) {
	t.Helper()
	cmd := exec.Command("sh", "-c", script)
	in, err := cmd.StdinPipe() // open until the test ends
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

func TestMachineSeesSockets(t *testing.T) {
	before, err := machine()
	if err != nil {
		t.Fatal(err)
	}
	var open []net.Listener
	for range 200 {
		ln, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ln.Close() })
		open = append(open, ln)
	}
	after, err := machine()
	if err != nil || after.Sockets-before.Sockets < len(open)/2 { // others close theirs meanwhile
		t.Errorf("%d sockets, then %d with %d more, %v", before.Sockets, after.Sockets, len(open), err)
	}
	if after.Kernel <= 0 || after.TCPMem < 0 || after.Cores < 1 || after.Busy <= 0 || after.SoftIRQ < before.SoftIRQ {
		t.Errorf("machine = %+v", after)
	}
}

func TestSlope(t *testing.T) {
	line := func(n int, v func(i int) float64) ([]time.Duration, []float64) {
		var at []time.Duration
		var values []float64
		for i := range n {
			at = append(at, time.Duration(i)*time.Second)
			values = append(values, v(i))
		}
		return at, values
	}
	flat := func(int) float64 { return 7 }
	growing := func(i int) float64 { return 100 + float64(i)/3600 }
	sawtooth := func(i int) float64 { return growing(i) + float64(i%10)/1000 }
	spiked := func(i int) float64 {
		if i%50 == 49 {
			return 1e6
		}
		return growing(i)
	}
	for _, c := range []struct {
		name string
		n    int
		v    func(int) float64
		want float64
		by   float64
	}{
		{"flat", 100, flat, 0, 0},
		{"even number of slopes", 4, growing, 1, 1e-9},
		{"growing", 100, growing, 1, 1e-9},
		{"thinned", 3001, growing, 1, 1e-9},
		{"sawtooth", 1200, sawtooth, 1, 0.1},
		{"spiked", 100, spiked, 1, 0.1},
	} {
		if got := Slope(line(c.n, c.v)); math.Abs(got-c.want) > c.by {
			t.Errorf("%s: %v per hour, want %v", c.name, got, c.want)
		}
	}
	same := []time.Duration{time.Second, time.Second}
	if got := Slope(nil, nil); !math.IsNaN(got) {
		t.Errorf("of nothing: %v", got)
	}
	if got := Slope(same, []float64{1, 2}); !math.IsNaN(got) {
		t.Errorf("of one instant: %v", got)
	}
}

// BenchmarkRead reads 40 processes, what a large run looks at each second.
func BenchmarkRead(b *testing.B) {
	var pids []int
	for range 40 {
		cmd := exec.Command("sleep", "600")
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		pids = append(pids, cmd.Process.Pid)
	}
	s := NewSampler(Group{strconv.Itoa(len(pids)), func() ([]int, error) { return pids, nil }})
	for b.Loop() {
		if _, err := s.Read(); err != nil {
			b.Fatal(fmt.Errorf("read: %w", err))
		}
	}
}
