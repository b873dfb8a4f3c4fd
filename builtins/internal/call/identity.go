package call

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"maps"
	"reflect"
	"slices"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
	"go.starlark.net/syntax"

	"infra/runtime"
)

// Identify makes other arguments than the call's own what its operations are known
// by ([runtime.Op.Same]): all that decides what a preview is answered.
func (c *Call) Identify(arguments any) { c.decides = arguments }

// same is what the operation that the call asks for next is known by: the arguments,
// and what the call was answered before, by which it may have made the operation.
func (c *Call) same() func() string {
	decides, before, at := c.decides, slices.Clip(c.answers), c.Pos
	return func() string {
		if decides == nil {
			return ""
		}
		d := newDigest()
		err := d.argument(reflect.ValueOf(decides))
		d.at = &at
		for _, v := range before {
			err = errors.Join(err, d.value(v, 0))
		}
		return d.sum(err)
	}
}

// Same is the [runtime.Op.Same] of an operation that all of these decide on, and
// nothing else that the operation does not say of itself.
func Same(all ...any) string {
	d := newDigest()
	for _, x := range all {
		if err := d.argument(reflect.ValueOf(x)); err != nil {
			return ""
		}
	}
	return d.sum(nil)
}

// salt makes a digest useless to any other process: what it is made of may be secret.
var salt = func() []byte {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // it never fails: crypto/rand aborts the program instead
	return b
}()

// errNoIdentity: two of the kind may look alike and not be.
var errNoIdentity = errors.New("it cannot be told from another")

// deepest is how deep a value may be: one that holds itself has no end.
const deepest = 64

// A digest takes values so that no two of them give it the same bytes.
type digest struct {
	hash.Hash
	at *syntax.Position // what will be known after that is always the same; nil: nothing is
}

func newDigest() *digest {
	d := &digest{Hash: sha256.New()}
	d.text(string(salt))
	return d
}

func (d *digest) sum(err error) string {
	if err != nil {
		return ""
	}
	return hex.EncodeToString(d.Sum(nil))
}

// text takes texts, and where each ends.
func (d *digest) text(all ...string) {
	for _, s := range all {
		fmt.Fprintf(d, "%d:%s", len(s), s)
	}
}

// argument takes a struct of arguments, or one of them.
func (d *digest) argument(v reflect.Value) error {
	d.text(v.Type().String())
	switch x := v.Interface().(type) {
	case starlark.Value:
		if v.Kind() == reflect.Pointer && v.IsNil() {
			d.text("none")
			return nil
		}
		return d.value(x, 0)
	case runtime.Text:
		return d.value(x.Value(), 0)
	case Argv:
		fmt.Fprint(d, x.shell, len(x.words))
		d.text(x.words...)
		return nil
	case Late:
		if x.Unknown != nil {
			return errNoIdentity
		}
		d.text(fmt.Sprint(x.Given), x.Text)
		return nil
	case map[string]runtime.Text:
		return d.named(x)
	}
	return d.plain(v)
}

// named takes texts by name.
func (d *digest) named(texts map[string]runtime.Text) error {
	d.text(fmt.Sprint(texts == nil, len(texts)))
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		d.text(name)
		if err := d.value(texts[name].Value(), 0); err != nil {
			return err
		}
	}
	return nil
}

// plain takes what Go's own types make an argument of.
func (d *digest) plain(v reflect.Value) error {
	switch v.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int64:
		d.text(fmt.Sprint(v.Interface()))
		return nil
	case reflect.Pointer, reflect.Interface:
		d.text(fmt.Sprint(v.IsNil()))
		if v.IsNil() {
			return nil
		}
		return d.argument(v.Elem())
	case reflect.Slice:
		d.text(fmt.Sprint(v.IsNil(), v.Len()))
		for i := range v.Len() {
			if err := d.argument(v.Index(i)); err != nil {
				return err
			}
		}
		return nil
	case reflect.Struct:
		for i := range v.NumField() {
			if !v.Type().Field(i).IsExported() {
				return errNoIdentity
			}
			if err := d.argument(v.Field(i)); err != nil {
				return err
			}
		}
		return nil
	}
	return errNoIdentity
}

// value takes a value of the language: plain data, a secret with what it hides, and
// what has a name of its own. Nothing else is sure to be what another one is, a
// function say.
func (d *digest) value(v starlark.Value, depth int) error {
	if v == nil {
		d.text("nothing")
		return nil
	}
	d.text(v.Type())
	switch v := v.(type) {
	case starlark.NoneType, starlark.Bool, starlark.Int, starlark.Float:
		d.text(v.String())
	case starlark.String:
		d.text(string(v))
	case starlark.Bytes:
		d.text(string(v))
	case *runtime.Secret:
		d.text(v.Name(), v.Reveal())
	case *runtime.StorePath:
		d.text(v.Path, v.Drv)
	case *runtime.Host:
		return d.host(v)
	case runtime.Unknown:
		return d.unknown(v)
	default:
		if depth == deepest {
			return errNoIdentity
		}
		return d.container(v, depth+1)
	}
	return nil
}

// unknown takes what the call itself will be answered. What comes from elsewhere, and
// would be shown as that, is told from another by where it comes from.
func (d *digest) unknown(u runtime.Unknown) error {
	if d.at == nil || u.Pos.String() != d.at.String() {
		return errNoIdentity
	}
	d.text(u.Op)
	if u.Shape != nil {
		d.text(u.Shape.Type)
	}
	return nil
}

// container takes a value that holds others, in their order.
func (d *digest) container(v starlark.Value, depth int) error {
	var all []starlark.Value
	switch v := v.(type) {
	case *starlark.List, starlark.Tuple:
		all = slices.Collect(starlark.Elements(v.(starlark.Iterable)))
	case *starlark.Dict:
		for _, item := range v.Items() {
			all = append(all, item[0], item[1])
		}
	case *runtime.Record:
		for _, f := range v.Fields() {
			all = append(all, starlark.String(f.Name), f.Value)
		}
	case *starlarkstruct.Struct:
		for name, value := range v.Entries() {
			all = append(all, starlark.String(name), value)
		}
	default:
		return errNoIdentity
	}
	d.text(fmt.Sprint(len(all)))
	for _, v := range all {
		if err := d.value(v, depth); err != nil {
			return err
		}
	}
	return nil
}

// host takes all of a host: its name alone does not say how it is reached.
func (d *digest) host(h *runtime.Host) error {
	d.text(h.Name, h.System, h.SSH, fmt.Sprint(len(h.Tags)))
	d.text(h.Tags...)
	switch p := h.Place; {
	case p == nil:
		d.text("declared")
	case p.Pending != nil:
		return errNoIdentity
	default:
		d.text(p.Address, p.Key, string(p.Trust), p.Instance)
	}
	return nil
}
