package preview

import (
	"encoding/json"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// same operations do the same, whatever was foreseen of them.
func (o Operation) same(other Operation) bool {
	return o.Name == other.Name && o.Host == other.Host && o.Effect == other.Effect &&
		sameText(o.Needs, other.Needs) && sameArgs(o.Args, other.Args)
}

// sameText says whether two texts differ in nothing but where in the plan what is
// not known yet is asked for: a line above moves that.
func sameText(a, b string) bool {
	return a == b || strings.Contains(a, unknownMark) && placeless(a) == placeless(b)
}

func sameLines(a, b []string) bool { return slices.EqualFunc(a, b, sameText) }

// unknownMark begins what stands for a value that is not known yet.
const unknownMark = "(known after "

// unknownPlace is the line in what stands for such a value.
var unknownPlace = regexp.MustCompile(`(\(known after [^()]*):[0-9]+\)`)

// placeless is text in which what is not known yet stands without its place.
func placeless(text string) string {
	if !strings.Contains(text, unknownMark) {
		return text
	}
	return unknownPlace.ReplaceAllString(text, "$1)")
}

// planPlace is a place in a plan file, as errors and doubts name it.
var planPlace = regexp.MustCompile(`\.star:[0-9]+(:[0-9]+)?`)

// sameReason is sameText for what is said of a step, which names places.
func sameReason(a, b string) bool {
	return a == b || planPlace.ReplaceAllString(a, ".star") == planPlace.ReplaceAllString(b, ".star")
}

func sameArgs(a, b Args) bool {
	if len(a) != len(b) {
		return false
	}
	for name, v := range a {
		if w, there := b[name]; !there || !sameValue(v, w) {
			return false
		}
	}
	return true
}

// sameValue compares two values of JSON.
func sameValue(a, b any) bool {
	switch a := a.(type) {
	case string:
		b, ok := b.(string)
		return ok && sameText(a, b)
	case json.Number, bool, nil:
		return a == b
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, sameValue)
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && sameArgs(a, b)
	}
	return reflect.DeepEqual(a, b)
}
