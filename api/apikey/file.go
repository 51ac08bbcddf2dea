package apikey

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
	"gopkg.in/yaml.v3"
)

// Errors of Edit that callers tell apart with errors.Is.
var (
	ErrExists  = errors.New("a key of this name exists")
	ErrUnknown = errors.New("no key has this name")
)

// File is a file of keys while it is being edited. Comments stay.
type File struct {
	doc   yaml.Node
	specs []Spec // as the file says now
}

// ReadFile lists the keys of the file given, in its order.
func ReadFile(name string) ([]Spec, error) {
	f, err := open(name)
	if err != nil {
		return nil, err
	}
	return f.specs, nil
}

// Edit has change edit the file given, which is replaced as a whole or not at
// all, so that no server ever reads half of it. A file that is not there is
// made if change adds a key; only its owner may read it. One that is there keeps
// its mode, but for others' right to write. Two edits at once happen one after
// the other.
func Edit(name string, change func(*File) error) error {
	if target, err := filepath.EvalSymlinks(name); err == nil {
		name = target // the link stays one
	}
	unlock, err := lock(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer unlock()
	f, err := open(name)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = &File{}, nil
	}
	if err != nil {
		return err
	}
	if err := change(f); err != nil {
		return err
	}
	text, err := f.text()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return replaceFile(name, text)
}

// lock keeps other edits of the files in dir away until unlock is called.
func lock(dir string) (unlock func(), err error) {
	d, err := os.Open(dir) //nolint:gosec // the operator names it
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), d.Close())
	}
	return func() { _ = d.Close() }, nil
}

func open(name string) (*File, error) {
	b, err := os.ReadFile(name) //nolint:gosec // the operator names it
	if err != nil {
		return nil, err
	}
	f := &File{}
	if len(bytes.TrimSpace(b)) == 0 {
		return f, nil
	}
	if f.specs, err = parse(b); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if err := yaml.Unmarshal(b, &f.doc); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}

// Keys lists the keys.
func (f *File) Keys() []Spec { return f.specs }

// Add appends a key. The error wraps ErrExists when its name is taken.
func (f *File) Add(spec Spec) error {
	if f.find(spec.Name) >= 0 {
		return fmt.Errorf("%w: %s", ErrExists, spec.Name)
	}
	entry, err := node(spec)
	if err != nil {
		return err
	}
	list := f.list()
	list.Content = append(list.Content, entry)
	f.specs = append(f.specs, spec)
	return nil
}

// Change has edit change the key of the name given, which it must keep. The
// error wraps ErrUnknown when there is none.
func (f *File) Change(name string, edit func(*Spec)) error {
	i := f.find(name)
	if i < 0 {
		return fmt.Errorf("%w: %s", ErrUnknown, name)
	}
	edit(&f.specs[i])
	entry, err := node(f.specs[i])
	if err != nil {
		return err
	}
	old := f.list().Content[i]
	entry.HeadComment, entry.LineComment, entry.FootComment = old.HeadComment, old.LineComment, old.FootComment
	f.list().Content[i] = entry
	return nil
}

// Remove takes a key out. The error wraps ErrUnknown when there is none of the
// name.
func (f *File) Remove(name string) error {
	i := f.find(name)
	if i < 0 {
		return fmt.Errorf("%w: %s", ErrUnknown, name)
	}
	list := f.list()
	list.Content = slices.Delete(list.Content, i, i+1)
	f.specs = slices.Delete(f.specs, i, i+1)
	return nil
}

func (f *File) find(name string) int {
	return slices.IndexFunc(f.specs, func(s Spec) bool { return s.Name == name })
}

// list is the node of the keys, which is made when there is none.
func (f *File) list() *yaml.Node {
	if f.doc.Kind == 0 {
		f.doc = yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{{Kind: yaml.MappingNode}}}
	}
	root := f.doc.Content[0]
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value == "keys" {
			return sequence(root.Content[i+1])
		}
	}
	keys := &yaml.Node{Kind: yaml.SequenceNode}
	root.Content = append(root.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: "keys"}, keys)
	return keys
}

// sequence makes n a sequence if it is nothing yet, and one entry a line.
func sequence(n *yaml.Node) *yaml.Node {
	if n.Kind != yaml.SequenceNode {
		*n = yaml.Node{Kind: yaml.SequenceNode}
	}
	n.Style &^= yaml.FlowStyle
	return n
}

func node(spec Spec) (*yaml.Node, error) {
	var n yaml.Node
	if err := n.Encode(spec); err != nil {
		return nil, fmt.Errorf("key %s: %w", spec.Name, err)
	}
	return &n, nil
}

// text is the file as it is to be written, which a server could read.
func (f *File) text() ([]byte, error) {
	if f.doc.Kind == 0 {
		return nil, errNoKeys
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(&f.doc); err != nil {
		return nil, err
	}
	if err := enc.Close(); err != nil {
		return nil, err
	}
	if _, err := Parse(b.Bytes()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// replaceFile writes text beside the file given and puts it in its place.
func replaceFile(name string, text []byte) (err error) {
	mode := fs.FileMode(0o600)
	st, statErr := os.Stat(name)
	if statErr == nil {
		mode = st.Mode().Perm() &^ 0o022
	}
	tmp, err := os.CreateTemp(filepath.Dir(name), ".keys-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name())
		}
	}()
	_, err = tmp.Write(text)
	err = errors.Join(err, tmp.Chmod(mode), keepOwner(tmp, st), tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), name)
}

// keepOwner gives f the owner of the file that it replaces, if there is one: a
// server that runs as another user must be able to read it still.
func keepOwner(f *os.File, before fs.FileInfo) error {
	if before == nil {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	uid, gid := owner(before)
	if uid == int(st.Uid) && gid == int(st.Gid) {
		return nil
	}
	return f.Chown(uid, gid)
}
