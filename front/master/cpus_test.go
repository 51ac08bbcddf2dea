package master

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// countedBy runs cpus in a process that prepare, a line of shell, has set up.
func countedBy(t *testing.T, prepare string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", prepare+"\nexec "+self+" -test.run='^TestPrintCPUs$' -test.v")
	cmd.Env = append(os.Environ(), "TEST_PRINT_CPUS=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	_, rest, _ := strings.Cut(string(out), "cpus=")
	n, _, _ := strings.Cut(rest, "\n")
	return n
}

// TestPrintCPUs is the process that countedBy runs.
func TestPrintCPUs(*testing.T) {
	if os.Getenv("TEST_PRINT_CPUS") != "" {
		fmt.Printf("cpus=%d\n", cpus())
	}
}

func TestWorkersByDefault(t *testing.T) {
	if n := countedBy(t, "export GOMAXPROCS=1"); n != "1" {
		t.Errorf("GOMAXPROCS=1: %s", n)
	}
	for quota, want := range map[int]string{20_000: "1", 100_000: "1", 150_000: "2"} { // of 100 ms
		dir := cgroupWith(t, quota)
		if n := countedBy(t, "echo $$ > "+filepath.Join(dir, "cgroup.procs")); n != fmt.Sprint(min(runtime.NumCPU(), int(want[0]-'0'))) {
			t.Errorf("a quota of %d µs in 100 ms: %s workers, want %s", quota, n, want)
		}
	}
}

// cgroupWith makes a cgroup whose processes get quota µs of CPU in 100 ms.
func cgroupWith(t *testing.T, quota int) (dir string) {
	t.Helper()
	var errs []error
	for _, c := range []struct{ root, file, text string }{
		{"/sys/fs/cgroup", "cpu.max", fmt.Sprintf("%d 100000", quota)},
		{"/sys/fs/cgroup/cpu", "cpu.cfs_quota_us", fmt.Sprint(quota)},
	} {
		dir := filepath.Join(c.root, fmt.Sprintf("homing-test-%d-%d", os.Getpid(), quota))
		if err := os.Mkdir(dir, 0o700); err != nil {
			errs = append(errs, err)
			continue
		}
		t.Cleanup(func() { _ = os.Remove(dir) }) // rmdir: its files are the kernel's
		f, err := os.OpenFile(filepath.Join(dir, c.file), os.O_WRONLY, 0)
		if err != nil { // a directory that is no cgroup of this version
			errs = append(errs, err)
			continue
		}
		_, err = f.WriteString(c.text)
		_ = f.Close()
		if err != nil {
			t.Fatal(err)
		}
		return dir
	}
	t.Skipf("only root of a machine with CPU cgroups can try a quota: %v", errs)
	return ""
}
