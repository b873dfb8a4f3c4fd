package runtime

import (
	"encoding/json"
	"fmt"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// A Secret is a value that can be carried and combined but not looked at:
// printing, comparing, hashing, len and JSON see ‹secret name›.
type Secret struct {
	name  string
	value string
}

var (
	_ starlark.HasBinary  = (*Secret)(nil)
	_ starlark.Comparable = (*Secret)(nil)
)

// secretMark begins the placeholder that stands for a secret in text.
const secretMark = "‹secret "

// NewSecret makes a secret and teaches the process-wide scrubber its value, so
// that nothing that leaves the process can show it. The name is where it came
// from ("secrets/cinnabar.yaml[hcloud.token]") and is not secret.
func NewSecret(name, value string) *Secret {
	scrub.learn(name, value, true)
	return &Secret{name, value}
}

// DerivedSecret makes a secret of text and secrets that exist already. The
// scrubber learns it as a whole only: its lines are plain text, or hold what
// is known.
func DerivedSecret(name, value string) *Secret {
	scrub.learn(name, value, false)
	return &Secret{name, value}
}

// Reveal returns the value. Only what hands it to a process, a file or a
// server may call it, and only with a context in which it is wanted.
func (s *Secret) Reveal() string { return s.value }

// Name says where the secret came from. It is not secret.
func (s *Secret) Name() string { return s.name }

// String is the placeholder.
func (s *Secret) String() string { return placeholder(s.name) }

func placeholder(name string) string { return secretMark + name + "›" }

// Type is "secret".
func (s *Secret) Type() string { return "secret" }

// Freeze does nothing: a secret is immutable.
func (s *Secret) Freeze() {}

// Truth is true for every secret, an empty one included: it tells nothing.
func (s *Secret) Truth() starlark.Bool { return true }

// Hash refuses: a hash can be looked up.
func (s *Secret) Hash() (uint32, error) {
	return 0, fmt.Errorf("a secret cannot be hashed or be a key: %s", s)
}

// CompareSameType refuses, for == too.
func (s *Secret) CompareSameType(syntax.Token, starlark.Value, int) (bool, error) {
	return false, fmt.Errorf("secrets cannot be compared: %s", s)
}

// Binary makes secret + text and text + secret a secret.
func (s *Secret) Binary(op syntax.Token, y starlark.Value, side starlark.Side) (starlark.Value, error) {
	if op != syntax.PLUS {
		return nil, nil
	}
	t, err := TextOf(y)
	if err != nil {
		return nil, nil // the interpreter's own "unknown binary op" says it well
	}
	if side == starlark.Left {
		return joinText(Text{secret: s}, t).secret, nil
	}
	return joinText(t, Text{secret: s}).secret, nil
}

// MarshalJSON writes the placeholder.
func (s *Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// Format prints the placeholder for every verb, %#v and %x included.
func (s *Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.String()) }

// Text is what may be a string or a secret: a command's input, a file's
// content, a header. It prints without its secret.
type Text struct {
	plain  string
	secret *Secret
}

// PlainText is a Text that hides nothing.
func PlainText(s string) Text { return Text{plain: s} }

// TextOf accepts a string, bytes or a [Secret].
func TextOf(v starlark.Value) (Text, error) {
	switch v := v.(type) {
	case starlark.String:
		return plainText(string(v))
	case starlark.Bytes:
		return plainText(string(v))
	case *Secret:
		return Text{secret: v}, nil
	}
	return Text{}, fmt.Errorf("want a string or a secret, got %s", v.Type())
}

// plainText refuses text into which a secret's placeholder was formatted: the
// placeholder itself would be written where the value was meant.
func plainText(s string) (Text, error) {
	if _, rest, found := strings.Cut(s, secretMark); found {
		name, _, _ := strings.Cut(rest, "›")
		return Text{}, WithHint(
			fmt.Errorf("the text holds the placeholder of secret %s, not its value", name),
			"build it with + or secrets.template: the result is a secret too")
	}
	return Text{plain: s}, nil
}

func joinText(a, b Text) Text {
	name := a.name()
	switch {
	case name == "":
		name = b.name()
	case b.name() != "" && b.name() != name:
		name += " + " + b.name()
	}
	return Text{secret: DerivedSecret(name, a.Reveal()+b.Reveal())}
}

func (t Text) name() string {
	if t.secret == nil {
		return ""
	}
	return t.secret.name
}

// Secret says whether the text must not be shown.
func (t Text) Secret() bool { return t.secret != nil }

// Reveal returns the text itself; see [Secret.Reveal].
func (t Text) Reveal() string {
	if t.secret != nil {
		return t.secret.Reveal()
	}
	return t.plain
}

// String is the text, or the placeholder.
func (t Text) String() string {
	if t.secret != nil {
		return t.secret.String()
	}
	return t.plain
}

// MarshalJSON writes what String returns.
func (t Text) MarshalJSON() ([]byte, error) { return json.Marshal(t.String()) }

// Value returns the text as a plan sees it.
func (t Text) Value() starlark.Value {
	if t.secret != nil {
		return t.secret
	}
	return starlark.String(t.plain)
}
