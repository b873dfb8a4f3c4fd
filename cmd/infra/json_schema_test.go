package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"infra/runtime"
)

const schemaFile, schemaPage = "../../docs/events.schema.json", "../../docs/json.md"

func eventSchema(t *testing.T) map[string]any {
	t.Helper()
	data, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	var s map[string]any
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// A validator checks values by the part of JSON Schema that the file uses; any
// other word in the file is an error, so that none is silently ignored.
type validator struct{ root map[string]any }

func (v validator) check(at string, schema map[string]any, x any) error {
	for word, arg := range schema {
		if err := v.word(word, arg, schema, at, x); err != nil {
			return err
		}
	}
	return nil
}

func (v validator) word(word string, arg any, schema map[string]any, at string, x any) error {
	object, isObject := x.(map[string]any)
	array, isArray := x.([]any)
	number, isNumber := x.(float64)
	wrong := func(ok bool) error {
		if ok {
			return nil
		}
		return fmt.Errorf("%s is %v, and %s says %v", at, x, word, arg)
	}
	switch word {
	case "$schema", "$defs", "title", "description", "then", "else":
	case "$ref":
		def, _ := v.root["$defs"].(map[string]any)[strings.TrimPrefix(arg.(string), "#/$defs/")].(map[string]any)
		if def == nil {
			return fmt.Errorf("there is no %v", arg)
		}
		return v.check(at, def, x)
	case "type":
		return wrong(typeOf(x) == arg || arg == "integer" && isNumber && number == math.Trunc(number))
	case "const":
		return wrong(reflect.DeepEqual(x, arg))
	case "enum":
		return wrong(slices.Contains(arg.([]any), x))
	case "minimum":
		return wrong(!isNumber || number >= arg.(float64))
	case "maximum":
		return wrong(!isNumber || number <= arg.(float64))
	case "pattern":
		return wrong(regexp.MustCompile(arg.(string)).MatchString(x.(string)))
	case "format":
		_, err := time.Parse(time.RFC3339Nano, x.(string))
		return wrong(arg == "date-time" && err == nil)
	case "required":
		for _, name := range arg.([]any) {
			if _, there := object[name.(string)]; isObject && !there {
				return fmt.Errorf("%s has no %v", at, name)
			}
		}
	case "properties":
		for name, s := range arg.(map[string]any) {
			if field, there := object[name]; there {
				if err := v.check(at+"."+name, s.(map[string]any), field); err != nil {
					return err
				}
			}
		}
	case "additionalProperties", "propertyNames":
		for name, field := range object {
			if word == "propertyNames" {
				field = name
			}
			if err := v.check(at+"."+name, arg.(map[string]any), field); err != nil {
				return err
			}
		}
	case "items":
		for i, item := range array {
			if err := v.check(fmt.Sprintf("%s[%d]", at, i), arg.(map[string]any), item); isArray && err != nil {
				return err
			}
		}
	case "allOf":
		for _, s := range arg.([]any) {
			if err := v.check(at, s.(map[string]any), x); err != nil {
				return err
			}
		}
	case "if":
		branch := "then"
		if v.check(at, arg.(map[string]any), x) != nil {
			branch = "else"
		}
		if s, there := schema[branch].(map[string]any); there {
			return v.check(at, s, x)
		}
	default:
		return fmt.Errorf("%s: this test does not know %q", at, word)
	}
	return nil
}

func typeOf(x any) string {
	switch x.(type) {
	case string:
		return "string"
	case bool:
		return "boolean"
	case float64:
		return "number"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	}
	return "null"
}

func (v validator) lines(t *testing.T, what, text string) (events []string) {
	t.Helper()
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		var x map[string]any
		if err := json.Unmarshal([]byte(line), &x); err != nil {
			t.Fatalf("%s, line %d: %v", what, i+1, err)
		}
		if err := v.check("event", v.root, x); err != nil {
			t.Errorf("%s, line %d: %v\n%s", what, i+1, err, line)
		}
		events = append(events, fmt.Sprint(x["event"]))
	}
	return events
}

func TestTheGoldenEventsFitTheSchema(t *testing.T) {
	v := validator{eventSchema(t)}
	v.lines(t, "ok", jsonText(okRun()))
	v.lines(t, "failed", jsonText(failedRun()))
	v.lines(t, "dry", jsonText(dryRun()))
	v.lines(t, "parts", jsonText(partsRun()))
	v.lines(t, "fleet", jsonText(fleetDryRun(2)))
	v.lines(t, "refused", jsonRefusal(unreadable))
	for _, bad := range []string{
		`{"schema":2,"time":"2026-11-22T21:19:00Z","event":"stopping","run":"x"}`,
		`{"schema":1,"time":"yesterday","event":"stopping","run":"x"}`,
		`{"schema":1,"time":"2026-11-22T21:19:00Z","event":"stopping"}`,
		`{"schema":1,"time":"2026-11-22T21:19:00Z","event":"other","run":"x"}`,
		`{"schema":1,"time":"2026-11-22T21:19:00Z","event":"run_ended","run":"x","status":"ok","took_ms":1,"totals":{"ops":0,"changed":0}}`,
		`{"schema":1,"time":"2026-11-22T21:19:00Z","event":"run_ended","run":"x","status":"ok","took_ms":1,"exit_code":0,"totals":{"ops":0,"changed":0,"verdicts":{"maybe":1}}}`,
		`{"schema":1,"time":"2026-11-22T21:19:00Z","event":"logged","run":"x","pos":{"file":"a","line":0}}`,
	} {
		var x map[string]any
		if err := json.Unmarshal([]byte(bad), &x); err != nil {
			t.Fatal(err)
		}
		if v.check("event", v.root, x) == nil {
			t.Errorf("the schema takes %s", bad)
		}
	}
}

func jsonRefusal(err error) string {
	var b strings.Builder
	newJSON(&b).(*jsonLines).refuse(err, exitCodeOf(err))
	return b.String()
}

// What the program prints, from the first line to the result.
func TestRealEventsFitTheSchema(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"infra.toml": "",
		"bad.star":   "a = plan(steps = [step(f)])\nb = c\n",
		"a.star": `
def write():
    """Leave a note."""
    fs.write("note.txt", "hello\n")
    log("##[group]written")

def decide(_):
    said = local.run(["cat", "note.txt"])
    if said.stdout == "hello\n":
        log("it said " + said.lines()[0])

a = plan(title = "A note", steps = [step(write), step(decide, needs = [write])],
    checks = [check(lambda: fs.exists("note.txt"), name = "there")])
`} {
		if err := os.WriteFile(dir+"/"+name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	v := validator{eventSchema(t)}
	for _, tt := range []struct {
		args []string
		code int
		last string
	}{
		{[]string{"--dry-run", "a.star"}, 0, "run_ended"},
		{[]string{"--dry-run", "--strict", "--detailed-exitcode", "a.star"}, 1, "run_ended"},
		{[]string{"--dry-run", "--detailed-exitcode", "a.star"}, 3, "run_ended"},
		{[]string{"a.star"}, 0, "run_ended"},
		{[]string{"bad.star"}, 2, "refused"},
		{[]string{"none.star"}, 2, "refused"},
		{[]string{"--step", "none", "a.star"}, 2, "refused"},
	} {
		cmd := exec.Command("infra", append([]string{"run", "--json"}, tt.args...)...)
		cmd.Dir = dir
		out, _ := cmd.Output()
		events := v.lines(t, fmt.Sprint(tt.args), string(out))
		if last := events[len(events)-1]; last != tt.last {
			t.Errorf("%v ends with %s", tt.args, last)
		}
		code := cmd.ProcessState.ExitCode()
		if code != tt.code || !strings.Contains(string(out), fmt.Sprintf(`"exit_code":%d`, code)) {
			t.Errorf("%v: exit code %d, want %d, in\n%s", tt.args, code, tt.code, out)
		}
	}
}

// The schema and the structs cannot drift apart, and the page names them all.
func TestTheSchemaIsTheStructs(t *testing.T) {
	root := eventSchema(t)
	page, err := os.ReadFile(schemaPage)
	if err != nil {
		t.Fatal(err)
	}
	defs := root["$defs"].(map[string]any)
	for _, tt := range []struct {
		of     any
		schema any
	}{
		{jsonEvent{}, root}, {jsonStart{}, defs["start"]}, {jsonStep{}, defs["step"]}, {jsonCheck{}, defs["check"]}, {jsonOp{}, defs["op"]}, {jsonPart{}, defs["part"]},
		{jsonError{}, defs["error"]}, {jsonOrigin{}, defs["origin"]}, {jsonPos{}, defs["pos"]}, {jsonTotals{}, defs["totals"]},
	} {
		schema := tt.schema.(map[string]any)
		properties := schema["properties"].(map[string]any)
		required, _ := schema["required"].([]any)
		typ, seen := reflect.TypeOf(tt.of), map[string]bool{}
		for i := range typ.NumField() {
			name, options, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			seen[name] = true
			if properties[name] == nil {
				t.Errorf("the schema lacks %s.%s", typ.Name(), name)
			}
			if always := options == ""; always != slices.Contains(required, any(name)) {
				t.Errorf("%s.%s: always there is %v, and the schema says otherwise", typ.Name(), name, always)
			}
			if !strings.Contains(string(page), "`"+name+"`") {
				t.Errorf("%s does not name %s", schemaPage, name)
			}
		}
		for name := range properties {
			if !seen[name] {
				t.Errorf("the schema has %s.%s, the struct does not", typ.Name(), name)
			}
		}
	}
}

// The words of the schema are those of the program.
func TestTheSchemasWords(t *testing.T) {
	root := eventSchema(t)
	page, err := os.ReadFile(schemaPage)
	if err != nil {
		t.Fatal(err)
	}
	defs := root["$defs"].(map[string]any)
	var kinds, statuses, verdicts []any
	for _, k := range []runtime.EventKind{runtime.RunStarted, runtime.StepStarted, runtime.StepRetried, runtime.OpAsked, runtime.OpResumed, runtime.OpProgress, runtime.OpEnded,
		runtime.Logged, runtime.Doubted, runtime.Stopping, runtime.Waiting, runtime.StepEnded, runtime.StepRestored, runtime.RunResumed, runtime.RunEnded, refused} {
		kinds = append(kinds, string(k))
	}
	for _, st := range statusOrder {
		statuses = append(statuses, string(st))
	}
	for _, v := range verdictOrder {
		verdicts = append(verdicts, v.String())
	}
	for name, both := range map[string][2]any{
		"event":   {root["properties"].(map[string]any)["event"], kinds},
		"status":  {defs["status"], statuses},
		"verdict": {defs["verdict"], verdicts},
	} {
		words := both[0].(map[string]any)["enum"].([]any)
		if fmt.Sprint(sorted(words)) != fmt.Sprint(sorted(both[1].([]any))) {
			t.Errorf("%s: the schema has %v, the program %v", name, words, both[1])
		}
		for _, w := range words {
			if !strings.Contains(string(page), fmt.Sprintf("`%v`", w)) {
				t.Errorf("%s does not name %v", schemaPage, w)
			}
		}
	}
}

func sorted(words []any) []string {
	var out []string
	for _, w := range words {
		out = append(out, fmt.Sprint(w))
	}
	slices.Sort(out)
	return out
}
