package sops

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/aes"
	"github.com/getsops/sops/v3/cmd/sops/common"
	"github.com/getsops/sops/v3/keyservice"

	"infra/runtime"
)

// A draft is a decrypted file that is being changed. Its plain text is in
// memory only.
type draft struct {
	file   File
	was    []byte // the file as it was read; nil where it is new
	store  common.Store
	tree   sops.Tree
	key    []byte
	cipher steady // the one that decrypted: it leaves untouched what does not change
}

// draft decrypts a file for a change.
func (r *Reader) draft(ctx context.Context, f File, rules rules, log io.Writer) (*draft, error) {
	data, err := f.Read()
	if err != nil {
		return nil, err
	}
	d := &draft{file: f, was: data, store: common.StoreForFormat(f.Format, rules.stores), cipher: steady{aes.NewCipher()}}
	if d.tree, err = f.load(d.store, data); err != nil {
		return nil, err
	}
	d.key, err = inTurn(ctx, r, f, log, func(l *opLog) ([]byte, error) { return r.keys.dataKey(ctx, f.Name, &d.tree.Metadata, l) })
	if err != nil {
		return nil, err
	}
	if err := openInline(&d.tree, d.key, d.cipher); err != nil {
		return nil, changed(f.Name, err)
	}
	return d, nil
}

// openInline is openTree with the comments behind values left there.
func openInline(tree *sops.Tree, key []byte, cipher sops.Cipher) error {
	sealed := copied(tree.Branches)
	if err := openTree(tree, key, cipher); err != nil {
		return err
	}
	for i, branch := range tree.Branches {
		keepInline(sealed[i], branch)
	}
	return nil
}

// steady is a cipher to which a comment is the same one wherever it stands, so
// that it is encrypted to what it was.
type steady struct{ aes.Cipher }

// Encrypt implements [sops.Cipher].
func (c steady) Encrypt(v any, key []byte, path string) (string, error) {
	if comment, ok := v.(sops.Comment); ok {
		v = sops.Comment{Value: comment.Value}
	}
	return c.Cipher.Encrypt(v, key, path)
}

// keepInline puts the comments that stand behind a value back there: the
// library forgets that when it decrypts them.
func keepInline(sealed, plain any) {
	switch plain := plain.(type) {
	case sops.TreeBranch:
		was := sealed.(sops.TreeBranch)
		for i, item := range plain {
			plain[i].Key = inlineAs(was[i].Key, item.Key)
			keepInline(was[i].Value, item.Value)
		}
	case []any:
		was := sealed.([]any)
		for i, e := range plain {
			plain[i] = inlineAs(was[i], e)
			keepInline(was[i], e)
		}
	}
}

func inlineAs(sealed, plain any) any {
	was, ok := sealed.(sops.Comment)
	comment, is := plain.(sops.Comment)
	if !ok || !is {
		return plain
	}
	comment.Inline = was.Inline
	return comment
}

// begin makes the draft of a file that is not there. It has no key yet.
func begin(f File, rules rules) (*draft, error) {
	if err := rules.mustHave(f); err != nil {
		return nil, fmt.Errorf("%s is not there yet: %w", f.Name, err)
	}
	silence()
	d := &draft{file: f, store: common.StoreForFormat(f.Format, rules.stores), cipher: steady{aes.NewCipher()}}
	d.tree = sops.Tree{Branches: sops.TreeBranches{{}}, Metadata: rules.metadata(f)}
	return d, nil
}

// newKey gives the draft another data key, wrapped for its recipients. That
// may take a cloud's service or a plugin, so it needs the turn.
func (r *Reader) newKey(ctx context.Context, d *draft, log io.Writer) error {
	d.cipher = steady{aes.NewCipher()}
	made, err := inTurn(ctx, r, d.file, log, func(l *opLog) (sops.Metadata, error) {
		s := &keyService{keyring: r.keys, ctx: ctx, log: l}
		t := sops.Tree{Metadata: d.tree.Metadata}
		key, errs := t.GenerateDataKeyWithKeyServices([]keyservice.KeyServiceClient{keyservice.NewCustomLocalClient(s)})
		if len(errs) > 0 {
			return sops.Metadata{}, s.notWrapped(d.file.Name, errs)
		}
		r.keys.dataKeys[metadataID(&t.Metadata)] = key // whoever made it need not be asked for it
		return t.Metadata, nil
	})
	if err != nil {
		return err
	}
	d.tree.Metadata, d.key = made, made.DataKey
	return nil
}

// notWrapped says for whom the data key could not be encrypted.
func (s *keyService) notWrapped(file string, errs []error) error {
	if s.ctx.Err() != nil {
		return fmt.Errorf("encrypt %s: %w", file, context.Cause(s.ctx))
	}
	if len(s.problems) == 0 {
		for _, err := range errs {
			s.problem(err.Error())
		}
	}
	return errors.New("the key of " + file + " cannot be encrypted for all its recipients" + section("what went wrong:", s.problems))
}

// errNotKept: the format cannot hold what the file shall.
var errNotKept = errors.New("it would not read back as it was written")

// seal encrypts the draft and returns the file, after it has read it back:
// nothing replaces a file of secrets that does not say what it shall.
func (d *draft) seal() ([]byte, error) {
	data, err := guarded(func() ([]byte, error) {
		if err := common.EncryptTree(common.EncryptTreeOpts{Tree: &d.tree, Cipher: d.cipher, DataKey: d.key}); err != nil {
			return nil, err
		}
		return d.store.EmitEncryptedFile(d.tree)
	})
	if err != nil {
		return nil, d.unwritable(err)
	}
	again, err := d.file.load(d.store, data)
	if err != nil {
		return nil, d.unwritable(errNotKept)
	}
	if err := openTree(&again, d.key, aes.NewCipher()); err != nil { // the MAC is over every value
		return nil, d.unwritable(errNotKept)
	}
	return data, nil
}

// unwritable keeps the library's text to itself: it may hold values.
func (d *draft) unwritable(err error) error {
	if errors.Is(err, errNotKept) {
		return fmt.Errorf("%s is left as it is: %w", d.file.Name, err)
	}
	return runtime.WithHint(fmt.Errorf("%s is left as it is: the sops library cannot write it as a %s file", d.file.Name, formatName(d.file.Format)),
		"see whether sops edit can")
}
