package remote

import (
	"io/fs"
	"os"
	"sync"
	"time"
)

// A fileCache keeps what was made of files for as long as they stay as they are: the
// files that tell of a fleet are asked for by every host of it.
type fileCache[T any] struct {
	mu   sync.Mutex
	kept map[string]keptFile[T]
}

type keptFile[T any] struct {
	info fs.FileInfo
	made T
}

// settled is for how long a file must not have changed to be kept: two changes within
// one tick of its clock look like one.
const settled = 2 * time.Second

// of returns what parse makes of the file. What cannot be read is not kept.
func (c *fileCache[T]) of(path string, parse func(text []byte) T) (T, error) {
	c.mu.Lock() // also while it is read: many ask for the same at the same time
	defer c.mu.Unlock()
	var none T
	info, err := os.Stat(path)
	if err != nil {
		return none, err
	}
	if k, ok := c.kept[path]; ok && unchanged(k.info, info) {
		return k.made, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return none, err
	}
	made := parse(text)
	if info.Mode().IsRegular() && time.Since(info.ModTime()) > settled {
		if c.kept == nil {
			c.kept = map[string]keptFile[T]{}
		}
		c.kept[path] = keptFile[T]{info, made}
	}
	return made, nil
}

func unchanged(before, now fs.FileInfo) bool {
	return os.SameFile(before, now) && before.Size() == now.Size() && before.ModTime().Equal(now.ModTime())
}
