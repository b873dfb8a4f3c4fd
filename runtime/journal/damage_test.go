package journal

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"infra/runtime"
)

// TestDamageIsFoundOrHarmless truncates a journal and turns bits of it over at
// many places. What is opened must be refused as it is; what is read must be an
// error or the truth, unless verifying finds what is wrong with it.
func TestDamageIsFoundOrHarmless(t *testing.T) {
	root := t.TempDir()
	path := chained(t, root)
	whole := content(t, path)
	truth, err := ledgerOf(root)
	if err != nil {
		t.Fatal(err)
	}
	var refused, found, harmless int
	damage := func(name, spoilt string) {
		restore(t, path, spoilt)
		j, err := Open(root)
		if err != nil {
			refused++
			if runtime.HintOf(err) == "" {
				t.Errorf("%s: it is not said what to do: %v", name, err)
			}
			if content(t, path) != spoilt {
				t.Errorf("%s: it was refused and changed", name)
			}
		} else if err := j.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got, err := ledgerOf(root)
		switch {
		case err == nil && reflect.DeepEqual(got, truth):
			harmless++
		case err == nil && soundAt(root):
			t.Errorf("%s: something else is read, and nobody noticed", name)
		default:
			found++
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for n := 0; n < len(whole); n += 1 + random.IntN(12000) {
		damage(fmt.Sprintf("cut off at %d", n), whole[:n])
	}
	offsets := []int{}
	for n := 0; n < 100; n += 3 { // the header, and the schema
		offsets = append(offsets, n)
	}
	for range 120 {
		offsets = append(offsets, random.IntN(len(whole)))
	}
	for _, n := range offsets {
		spoilt := []byte(whole)
		spoilt[n] ^= 1 << random.IntN(8)
		damage(fmt.Sprintf("bit of byte %d", n), string(spoilt))
	}
	t.Logf("%d were refused when opened; read: %d errors or broken chains, %d harmless", refused, found, harmless)
	if refused == 0 || found == 0 || harmless == 0 {
		t.Error("this shows nothing")
	}
}

// soundAt says whether a journal claims to be whole.
func soundAt(root string) bool {
	l, err := Read(root)
	if err != nil {
		return false
	}
	defer func() { _ = l.Close() }()
	p, err := l.Verify()
	return err == nil && p.Broken == nil
}

// ledgerOf is all that can be read.
func ledgerOf(root string) (runs []Run, err error) {
	l, err := Read(root)
	if err != nil {
		return nil, err
	}
	defer func() { _ = l.Close() }()
	if runs, err = l.Runs(100); err != nil {
		return nil, err
	}
	for i, r := range runs {
		if runs[i], err = l.Run(r.ID); err != nil {
			return nil, err
		}
	}
	return runs, nil
}

// TestDamagedWAL: what was not yet moved into the file is damaged. SQLite takes
// what is whole of it, which ends before a record, not within one.
func TestDamagedWAL(t *testing.T) {
	root := t.TempDir()
	j := open(t, root)
	record(t, j, wholeRun()...)
	wal := filepath.Join(root, ".infra", "journal.db-wal")
	whole, file := content(t, wal), content(t, filepath.Join(root, ".infra", "journal.db"))
	for n := 0; n < len(whole); n += 4001 {
		dir := filepath.Join(t.TempDir(), ".infra")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		spoilt := []byte(whole)
		spoilt[n] ^= 0x10
		for name, text := range map[string]string{"journal.db": file, "journal.db-wal": string(spoilt)} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		runs, err := ledgerOf(filepath.Dir(dir))
		if err == nil && len(runs) > 0 && !soundAt(filepath.Dir(dir)) {
			t.Errorf("byte %d of the WAL: half a record is there: %+v", n, runs)
		}
		other, err := Open(filepath.Dir(dir))
		if err != nil {
			continue
		}
		record(t, other, started("next", time.Now()))
		if err := other.Close(); err != nil || !soundAt(filepath.Dir(dir)) {
			t.Errorf("byte %d of the WAL: it cannot be gone on with: %v", n, err)
		}
	}
}
