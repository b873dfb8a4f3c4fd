package clan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"infra/builtins/internal/file"
	"infra/runtime"
)

// before is the snapshot from before an operation began. A run that was killed
// in the middle of one, and is resumed, gets that of the first beginning: what
// its clan had changed by then is to be committed too.
func (d driver) before(ctx context.Context, machine string) (s snapshot, resumed bool, err error) {
	name := d.beforeFile(ctx)
	if name != "" {
		data, err := os.ReadFile(name)
		if err == nil && json.Unmarshal(data, &s) == nil {
			return s, true, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, false, fmt.Errorf("read what clan's folder was like before: %w", err)
		}
	}
	s, err = d.snapshot(machine)
	if err != nil || name == "" {
		return s, false, err
	}
	data, err := json.Marshal(s)
	if err == nil {
		err = keep(name, data)
	}
	if err != nil {
		return nil, false, fmt.Errorf("note what clan's folder is like before: %w", err)
	}
	return s, false, nil
}

// goOn is how a run that is resumed goes on with an operation that may be
// repeated: as the very operation that it was, which is how before finds what
// it noted.
func goOn(context.Context, io.Writer) (runtime.Fate, runtime.Result, error) {
	return runtime.NotDone, runtime.Result{}, nil
}

// keep writes a file of our own, which only we may read, as a whole.
func keep(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	return file.Replace(name, data, 0o600, nil)
}

// beforeFile is "" where nothing will resume the operation.
func (d driver) beforeFile(ctx context.Context) string {
	id := runtime.OpID(ctx)
	if id == "" || d.Root == "" {
		return ""
	}
	return filepath.Join(d.Root, ".infra", "clan", id+".json")
}

// forget removes what only a resumed run needs.
func (d driver) forget(ctx context.Context) {
	if name := d.beforeFile(ctx); name != "" {
		_ = os.Remove(name) // one that stays is small, and is nobody else's
	}
}
