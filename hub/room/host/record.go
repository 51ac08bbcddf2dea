package host

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// recordFile is where a room is recorded; nil: it is not.
type recordFile struct{ file *os.File }

func newRecordFile(dir, id string) (*recordFile, error) {
	f, err := os.OpenFile(filepath.Join(dir, fmt.Sprintf("%s-%d.ndjson", filepath.Base(id), time.Now().UnixNano())), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // the operator names the folder
	if err != nil {
		return nil, err
	}
	return &recordFile{f}, nil
}

func (f *recordFile) close() {
	if f != nil {
		_ = f.file.Close()
	}
}

// discard takes away the record of a room that has not begun.
func (f *recordFile) discard() {
	if f != nil {
		f.close()
		_ = os.Remove(f.file.Name())
	}
}
