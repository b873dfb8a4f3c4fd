package runtime

import (
	"bytes"
	"strings"
	"testing"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
)

func values(t testing.TB) starlark.Tuple {
	dict := starlark.NewDict(2)
	for _, k := range []string{"z", "a"} {
		if err := dict.SetKey(starlark.String(k), starlark.MakeInt(1)); err != nil {
			t.Fatal(err)
		}
	}
	set := starlark.NewSet(1)
	if err := set.Insert(starlark.MakeInt(7)); err != nil {
		t.Fatal(err)
	}
	return starlark.Tuple{
		starlark.None, starlark.True, starlark.MakeInt(-3), starlark.MakeInt64(1 << 62),
		starlark.MakeInt64(1 << 62).Mul(starlark.MakeInt(1000)), starlark.Float(1), starlark.Float(0.1),
		starlark.String("ü\n"), starlark.String("\xff\x00"), starlark.Bytes("\xff"),
		starlark.NewList([]starlark.Value{starlark.MakeInt(1), starlark.Tuple{}}), dict, set,
		starlarkstruct.FromStringDict(starlarkstruct.Default, starlark.StringDict{"ok": starlark.True}),
		&Host{Name: "h", System: "aarch64-darwin", SSH: "root@h", Tags: []string{"mac"}},
		(&Host{Name: "h", SSH: "root@h"}).At(Place{Address: "10.0.0.1:23", Key: "ssh-ed25519 AAAA", Trust: TrustFirstUse, Instance: "42"}),
		&StorePath{Path: "/nix/store/0123-x", Drv: "/nix/store/4567-x.drv"},
		CommandResult(starlark.String("out"), starlark.String(""), starlark.MakeInt(0), starlark.False),
	}
}

func TestDecodeMakesWhatEncodeWrote(t *testing.T) {
	for _, v := range values(t) {
		data, err := Encode(v)
		if err != nil {
			t.Errorf("%s: %v", v, err)
			continue
		}
		back, err := Decode(data)
		if err != nil {
			t.Errorf("%s: %v", data, err)
			continue
		}
		again, err := Encode(back)
		if err != nil || !bytes.Equal(data, again) || back.Type() != v.Type() || back.String() != v.String() {
			t.Errorf("%s became %s (%s): %v", v, back, again, err)
		}
	}
}

func TestEncodeRefusesWhatCannotGoOn(t *testing.T) {
	fn := starlark.NewBuiltin("f", nil)
	list := starlark.NewList([]starlark.Value{starlark.Tuple{starlark.None, fn}})
	if _, err := Encode(list); err == nil || !strings.Contains(err.Error(), "builtin_function_or_method at [0][1] cannot be kept") {
		t.Errorf("got %v", err)
	}
	for _, v := range []starlark.Value{NewSecret("x", "hunter2"), Unknown{Op: "ssh.run"},
		(&Host{Name: "h"}).At(Place{Pending: &Unknown{Op: "ssh.run"}})} {
		data, err := Encode(v)
		if err != nil || strings.Contains(string(data), "hunter2") {
			t.Errorf("%s: %s, %v", v, data, err)
		}
		if _, err := Decode(data); err == nil {
			t.Errorf("%s was decoded", data)
		}
	}
}

// FuzzDecode: a journal can hold anything; decoding it ends in a value or an
// error, and a value encodes again.
func FuzzDecode(f *testing.F) {
	for _, v := range values(f) {
		data, _ := Encode(v)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := Decode(data)
		if err != nil {
			return
		}
		if _, err := Encode(v); err != nil {
			t.Errorf("%s: %v", data, err)
		}
	})
}

// What a journal keeps of text that held a secret is not that text.
func TestWhatHeldASecretIsNotDecoded(t *testing.T) {
	secret := NewSecret("tok-decode", "s3cr3t-for-decode")
	kept, err := Encode(starlark.NewList([]starlark.Value{starlark.String("a token: " + secret.Reveal())}))
	if err != nil {
		t.Fatal(err)
	}
	scrubbed, err := ScrubJSON(kept)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := Decode(scrubbed); err == nil {
		t.Errorf("%s was decoded as %s", scrubbed, v)
	}
	if _, err := Decode(kept); err != nil {
		t.Error(err)
	}
}
