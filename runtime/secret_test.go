package runtime

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

const hidden = "p@ss/word \"+\" 'q' & ünï"

func TestASecretShowsItsNameOnly(t *testing.T) {
	s := NewSecret("db", hidden)
	encoded, err := json.Marshal(map[string]any{"a": s, "t": Text{secret: s}})
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{s.String(), string(encoded), fmt.Sprintf("%v %s %q %x %#v %+v", s, s, s, s, s, s), fmt.Sprint(Text{secret: s})} {
		if strings.Contains(shown, "word") || !strings.Contains(shown, "‹secret db›") {
			t.Errorf("it shows %q", shown)
		}
	}
	if _, err := s.Hash(); err == nil {
		t.Error("it was hashed")
	}
	if eq, err := starlark.Compare(syntax.EQL, s, NewSecret("other", hidden)); err == nil {
		t.Errorf("it was compared: %v", eq)
	}
}

func TestTextWithASecretIsASecret(t *testing.T) {
	s := NewSecret("db", hidden)
	for _, tt := range []struct {
		x, y starlark.Value
		want string
	}{
		{starlark.String("user:"), s, "user:" + hidden},
		{s, starlark.String("!"), hidden + "!"},
		{s, s, hidden + hidden},
	} {
		v, err := starlark.Binary(syntax.PLUS, tt.x, tt.y)
		if sum, ok := v.(*Secret); err != nil || !ok || sum.Reveal() != tt.want || sum.String() != "‹secret db›" {
			t.Errorf("%s + %s is %v: %v", tt.x, tt.y, v, err)
		}
	}
	if _, err := starlark.Binary(syntax.PLUS, s, starlark.MakeInt(1)); err == nil {
		t.Error("a secret was added to a number")
	}
}

func TestAPlaceholderIsNotWritten(t *testing.T) {
	text := starlark.String("password=" + NewSecret("db", hidden).String())
	if _, err := TextOf(text); err == nil || !strings.Contains(err.Error(), "placeholder of secret db") || HintOf(err) == "" {
		t.Errorf("got %v", err)
	}
}

func TestScrubFindsEveryForm(t *testing.T) {
	multi := "first-line-of-key\nsecond-line-of-key\n"
	NewSecret("form", hidden)
	NewSecret("multi", multi)
	quoted, _ := json.Marshal(hidden)
	b64 := base64.StdEncoding.EncodeToString
	for name, text := range map[string]string{
		"raw":                hidden,
		"within":             "x" + hidden + "y",
		"json":               string(quoted),
		"query":              url.QueryEscape(hidden),
		"path":               url.PathEscape(hidden),
		"hex":                hex.EncodeToString([]byte(hidden)),
		"base64":             b64([]byte(hidden)),
		"base64 after one":   b64([]byte("u" + hidden + "zz")),
		"base64 after two":   b64([]byte("u:" + hidden + "zz")),
		"base64 of url":      base64.URLEncoding.EncodeToString([]byte("u:" + hidden)),
		"one line of a key":  "said second-line-of-key",
		"shell quotes":       strings.ReplaceAll(hidden, "'", `'\''`),
		"base64 of one line": b64([]byte("first-line-of-key")),
	} {
		got := Scrub("before " + text + " after")
		if !strings.Contains(got, "‹secret ") || !strings.HasPrefix(got, "before ") || !strings.HasSuffix(got, " after") {
			t.Errorf("%s: %q", name, got)
		}
		for _, left := range []string{"p@ss", "word", "line-of", "cEBzcy93b3Jk"} {
			if strings.Contains(got, left) {
				t.Errorf("%s: %q is left in %q", name, left, got)
			}
		}
	}
	if got := Scrub("nothing to hide"); got != "nothing to hide" {
		t.Errorf("got %q", got)
	}
}

func TestScrubFindsWrappedBase64(t *testing.T) {
	var key strings.Builder
	for i := range 40 {
		fmt.Fprintf(&key, "%d-key-material;", i*7919)
	}
	NewSecret("wrapped", key.String())
	encoded := base64.StdEncoding.EncodeToString([]byte(key.String() + "\n"))
	for _, width := range []int{64, 76} {
		for i := 0; i < len(encoded)-width; i += width {
			if got := Scrub(encoded[i : i+width]); !strings.HasPrefix(got, "‹secret wrapped›") {
				t.Fatalf("line %d of width %d shows as %q", i/width, width, got)
			}
		}
	}
}

func TestScrubTakesTheLongestSecret(t *testing.T) {
	NewSecret("short", "abcd1234")
	NewSecret("long", "abcd1234-efgh")
	if got := Scrub("abcd1234-efgh abcd1234"); got != "‹secret long› ‹secret short›" {
		t.Errorf("got %q", got)
	}
}

func TestScrubLeavesPlainTextAlone(t *testing.T) {
	NewSecret("flag", "True")
	token := NewSecret("token", "tok-5a5a5a5a")
	DerivedSecret("config", "[Interface]\nPrivateKey = "+token.Reveal()+"\n")
	if got := Scrub("true [Interface]\nPrivateKey = tok-5a5a5a5a"); got != "true ‹secret config›" {
		t.Errorf("got %q", got)
	}
	if got := Scrub("[Interface] of tok-5a5a5a5a is True"); got != "[Interface] of ‹secret token› is True" {
		t.Errorf("got %q", got)
	}
}

func TestScrubWriterFindsASecretInPieces(t *testing.T) {
	NewSecret("pieces", "split-over-writes")
	for _, lineEnd := range []string{"\n", ""} {
		var out bytes.Buffer
		w := NewScrubWriter(&out)
		for _, b := range []byte("a split-over-writes b" + lineEnd) {
			if _, err := w.Write([]byte{b}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); got != "a ‹secret pieces› b"+lineEnd {
			t.Errorf("got %q", got)
		}
	}
	t.Run("in a line longer than what is held back", func(t *testing.T) {
		var out bytes.Buffer
		w := NewScrubWriter(&out)
		long := strings.Repeat("x", heldBack-5) + "split-over-writes"
		for len(long) > 0 {
			n := min(len(long), 1000)
			if _, err := w.Write([]byte(long[:n])); err != nil {
				t.Fatal(err)
			}
			long = long[n:]
		}
		w.Close()
		if strings.Contains(out.String(), "split") || out.Len() < heldBack {
			t.Errorf("%d bytes, ending in %q", out.Len(), out.String()[out.Len()-40:])
		}
	})
}

// FuzzScrub: whatever the secret and the text round it, the secret is gone.
func FuzzScrub(f *testing.F) {
	f.Add("hunter2!", "pre", "post")
	f.Fuzz(func(t *testing.T, value, before, after string) {
		value = strings.TrimSpace(value)
		if len(value) < 8 || strings.ContainsAny(value, "\r\n‹›") {
			return
		}
		var s scrubber
		s.learn("x", value, true)
		if got := s.replace(before + value + after); strings.Contains(got, value) && !strings.Contains(before+placeholder("x")+after, value) {
			t.Errorf("%q is left in %q", value, got)
		}
	})
}
