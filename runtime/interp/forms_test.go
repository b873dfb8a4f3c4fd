package interp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.starlark.net/lib/json"
	"go.starlark.net/lib/math"
	"go.starlark.net/lib/time"
	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
	"go.starlark.net/syntax"

	"infra/runtime"
)

var everything = &syntax.FileOptions{Set: true, While: true, TopLevelControl: true, GlobalReassign: true, Recursion: true}

// execute runs a file under forms, with some values that are not known.
func execute(forms Forms, text string, more starlark.StringDict) (starlark.StringDict, error) {
	file := "known.star"
	u := runtime.Unknown{Op: "ssh.run", Pos: syntax.MakePosition(&file, 7, 1)}
	base := starlark.StringDict{
		"struct": starlark.NewBuiltin("struct", starlarkstruct.Make), "json": json.Module, "math": math.Module, "time": time.Module,
		"u": u, "us": u.As(runtime.StringShape), "ui": u.As(runtime.IntShape), "ub": u.As(runtime.BoolShape),
		"uf": u.As(runtime.FloatShape), "ul": u.As(runtime.StringsShape), "ud": u.As(runtime.DictShape),
		"uset": u.As(runtime.SetShape), "uj": u.As(runtime.PlainData), "usec": u.As(runtime.SecretShape),
		"upath": u.As(runtime.StorePathShape),
		"rec":   runtime.CommandResult(u.As(runtime.StringShape), starlark.String(""), starlark.MakeInt(0), starlark.True),
		"key":   runtime.NewSecret("tok", "s3cr3t-in-forms"),
		"other": runtime.NewSecret("pin", "9471-in-forms"),
	}
	for k, v := range more {
		base[k] = v
	}
	bound := forms.bind(base)
	tree, err := everything.Parse("a.star", text, 0)
	if err != nil {
		return nil, err
	}
	instrument(tree, forms)
	prog, err := starlark.FileProgram(tree, bound.predeclared.Has)
	if err != nil {
		return nil, err
	}
	thread := &starlark.Thread{Print: func(*starlark.Thread, string) {}}
	ctx, doubt := runtime.WithDoubt(context.Background(), func() {})
	runtime.SetContext(thread, ctx)
	globals, err := prog.Init(thread, bound.predeclared)
	if globals != nil {
		globals["=doubted"] = starlark.Bool(doubt.Raised() != nil)
	}
	return globals, err
}

// outcome is what became of x: a value as it prints, "unknown string", "ends"
// with what is not known, or "error".
func outcome(globals starlark.StringDict, err error) string {
	var notKnown *runtime.NotKnownError
	if errors.As(err, &notKnown) {
		return "ends: " + notKnown.Field
	}
	if err != nil {
		return "error: " + err.Error()
	}
	return shown(globals["x"])
}

func shown(v starlark.Value) string {
	switch v := v.(type) {
	case runtime.Unknown:
		switch {
		case v.Shape == nil:
			return "unknown"
		case v.Shape.Elem != nil:
			return "unknown " + v.Shape.Type + " of " + v.Shape.Elem.Type
		}
		return "unknown " + v.Shape.Type
	case *runtime.Secret:
		return "secret " + v.Name() + " " + v.Reveal()
	case nil:
		return "nothing"
	}
	return v.String()
}

// TestForms is every form of code with a value that is not known in it.
func TestForms(t *testing.T) {
	for form, cases := range formCases {
		for _, tt := range cases {
			t.Run(form+"/"+tt[0], func(t *testing.T) {
				if got := outcome(execute(DryRunForms(), statement(tt[0]), nil)); got != tt[1] {
					t.Errorf("got %s, want %s", got, tt[1])
				}
			})
		}
	}
}

func init() {
	add := func(group, text, want string) { formCases[group] = append(formCases[group], [2]string{text, want}) }
	for name, member := range math.Module.Members {
		if _, ok := member.(*starlark.Builtin); ok && name != "ceil" && name != "floor" {
			add("modules", "math."+name+"(ui, 1)", "unknown float")
		}
	}
	add("modules", "math.ceil(ui)", "unknown int")
	for _, name := range []string{"from_timestamp", "parse_time", "time"} {
		add("modules", "time."+name+"(u)", "unknown time.time")
	}
	add("modules", "time.is_valid_timezone(us)", "unknown bool")
	add("modules", "time.time(year = 2020).in_location(us)", "unknown time.time")
	for shape, names := range map[string]string{"string": "lstrip removeprefix removesuffix rstrip", "int": "index rfind rindex",
		"list of string": "rsplit splitlines", "tuple of string": "rpartition", "bool": "endswith"} {
		for name := range strings.FieldsSeq(names) {
			add("methods", "'abc'."+name+"(us)", "unknown "+shape)
		}
	}
	for _, name := range []string{"difference", "intersection", "symmetric_difference"} {
		add("methods", "set([1])."+name+"(ul)", "unknown set")
	}
	add("methods", "set([1]).issuperset(ul)", "unknown bool")
	add("methods", "set([1]).remove(us)", "ends: an argument of remove")
	for _, op := range []string{">", ">=", "<", "<="} {
		add("comparison", "ui "+op+" 3", "unknown bool")
		add("comparison", "[1, ui] "+op+" [1, 2]", "unknown bool")
	}
	add("operators", "1 >> ui", "unknown int")
}

// statement makes a statement of an expression.
func statement(text string) string {
	if strings.Contains(text, "\n") || strings.Contains(text, "x = ") {
		return text
	}
	return "x = " + text
}

var formCases = map[string][][2]string{
	"if": {
		{"def f():\n  if us: return 1\n  return 2\nx = f()", "ends: the condition of an if"},
		{"def f():\n  if False: return 1\n  elif u: return 2\nx = f()", "ends: the condition of an if"},
		{"def f():\n  if not u: return 1\nx = f()", "ends: the condition of an if"},
		{"def f():\n  if us == 'a': return 1\nx = f()", "ends: the condition of an if"},
		{"def f():\n  if [u]: return 1\nx = f()", "1"},
		{"def f():\n  if rec.code == 0 and rec.changed: return 1\nx = f()", "1"},
	},
	"if else":              {{"1 if us else 2", "ends: the condition of an if"}, {"us if True else 2", "unknown string"}, {"1 if (us, ) else 2", "1"}},
	"while":                {{"def f():\n  while u: pass\nx = f()", "ends: the condition of a while"}},
	"and":                  {{"us and 1", "ends: the left side of and"}, {"1 and us", "unknown string"}, {"0 and us", "0"}, {"1 if 1 and us else 2", "ends: the condition of an if"}},
	"or":                   {{"us or 1", "ends: the left side of or"}, {"0 or us", "unknown string"}, {"1 or us", "1"}},
	"not":                  {{"not us", "unknown bool"}, {"not [us]", "False"}},
	"for":                  {{"for i in u: pass\nx = 1", "ends: what a for goes through"}, {"for i in rec.lines(): pass\nx = 1", "ends: what a for goes through"}, {"x = 0\nfor i in [u, u]: x += 1", "2"}},
	"for in comprehension": {{"[i for i in u]", "ends: what a comprehension goes through"}, {"[j for i in [u] for j in i]", "ends: what a comprehension goes through"}, {"{i: 1 for i in ul}", "ends: what a comprehension goes through"}},
	"if in comprehension":  {{"[i for i in [1] if u]", "ends: the condition of a comprehension"}, {"[i for i in [u] if i]", "ends: the condition of a comprehension"}, {"[1 for i in [u] if 'a' in [i]]", "ends: the condition of a comprehension"}},
	"unpack": {
		{"a, b = u\nx = 1", "ends: what is unpacked"},
		{"a, (b, c) = 1, u\nx = 1", "ends: what is unpacked"},
		{"(a, [b, (c, d)]) = [1, (2, u)]\nx = 1", "ends: what is unpacked"},
		{"a, x = 1, u", "unknown"},
		{"a, (x, c) = 1, (us, 2)\n", "unknown string"},
		{"for a, b in [(1, 2), u]: pass\nx = 1", "ends: what is unpacked"},
		{"for a, (b, c) in [(1, u)]: pass\nx = 1", "ends: what is unpacked"},
		{"[a for a, b in [(1, 2), u]]", "ends: what is unpacked"},
		{"[b for a, b in [(1, us)]][0]", "unknown string"},
		{"[a for a, (b, c) in [(1, u)]]", "ends: what is unpacked"},
	},
	"comparison": {
		{"us == 'a'", "unknown bool"}, {"'a' == us", "unknown bool"}, {"us != us", "unknown bool"}, {"ui < 3", "unknown bool"}, {"3 >= ui", "unknown bool"},
		{"[us] == ['a']", "unknown bool"}, {"['a'] != [us]", "unknown bool"}, {"[1, us] == [2, 'a']", "False"}, {"[us] == []", "False"}, {"[us, 1] != [1]", "True"},
		{"(1, us) < (2, 'a')", "True"}, {"(1, us) < (1, 'a')", "unknown bool"}, {"(1, [us]) <= (1, ['a'])", "unknown bool"},
		{"{'k': us} == {'k': 'a'}", "unknown bool"}, {"{'k': us} == {'j': 'a'}", "False"}, {"{'k': us} != {'k': 'a'}", "unknown bool"}, {"{'k': us} == {}", "False"},
		{"struct(a = us) == struct(a = 1)", "unknown bool"}, {"struct(a = us) == struct(b = 1)", "False"}, {"struct(a = us, b = 1) != struct(a = 1)", "True"}, {"struct(a = [us]) != struct(a = [1])", "unknown bool"},
		{"us == None", "unknown bool"}, {"[[us]] == [[1]]", "unknown bool"}, {"[us] == ('a',)", "False"},
	},
	"in": {
		{"us in ['a']", "unknown bool"}, {"'a' in ul", "unknown bool"}, {"'a' in us", "unknown bool"}, {"us in 'abc'", "unknown bool"}, {"us not in ['a']", "unknown bool"},
		{"'a' in ['a', us]", "True"}, {"'b' in ['a', us]", "unknown bool"}, {"'b' in ('a', us)", "unknown bool"}, {"('a', us) in [('a', 1)]", "unknown bool"}, {"('a', us) in [('b', 1)]", "False"},
		{"us in {'a': 1}", "unknown bool"}, {"(us,) in {'a': 1}", "unknown bool"}, {"us in set(['a'])", "unknown bool"}, {"us in []", "False"}, {"'a' not in ()", "True"}, {"'a' in {'a': us}", "True"},
		{"us in range(3)", "unknown bool"}, {"'a' in ud", "unknown bool"}, {"'k' not in uj", "unknown bool"},
	},
	"operators": {
		{"us + 'a'", "unknown string"}, {"'a' + us", "unknown string"}, {"'a' + u", "unknown"}, {"us + key", "unknown secret"}, {"key + us", "unknown secret"}, {"ui + 1", "unknown int"}, {"ui / 2", "unknown float"}, {"2 // ui", "unknown int"},
		{"uf * 2", "unknown float"}, {"us * 3", "unknown string"}, {"['a'] + ul", "unknown list"}, {"(1,) * ui", "unknown tuple"}, {"ui - 1", "unknown int"}, {"ui % 2", "unknown int"}, {"1 << ui", "unknown int"}, {"ui >> 1", "unknown int"},
		{"ui & 1", "unknown int"}, {"ud | {}", "unknown dict"}, {"{} | ud", "unknown dict"}, {"uset ^ set()", "unknown set"}, {"ui | 1", "unknown int"}, {"-ui", "unknown int"}, {"~ui", "unknown int"}, {"+u", "unknown"},
		{"us + 1", "error: unknown binary op: string + int"}, {"1 - us", "error: unknown binary op: int - string"}, {"2 // u", "unknown"}, {"-us", "error: a string has no sign"}, {"uj + 'a'", "unknown"}, {"[us] + ['b']", `[(known after ssh.run, known.star:7), "b"]`},
		{"struct(a = 1) + u", "unknown"}, {"'a' + us + 'b' + 'c'", "unknown string"},
	},
	"augmented": {
		{"x = 'a'\nx += us", "unknown string"}, {"x = us\nx += 'a'", "unknown string"}, {"x = 1\nx -= ui", "unknown int"}, {"x = ui\nx *= 2", "unknown int"}, {"x = 'a %s'\nx %= us", "unknown string"}, {"x = 'a %s'\nx %= [us]", "unknown string"},
		{"x = []\nx += ul", "ends: an operand of +="}, {"x = []\nx += u", "ends: an operand of +="}, {"x = ul\nx += ['a']", "ends: an operand of +="}, {"x = u\nx += ['a']", "ends: an operand of +="}, {"x = {}\nx |= ud", "ends: an operand of |="}, {"x = ud\nx |= {}", "ends: an operand of |="},
		{"y = {'k': []}\ny['k'] += ul\nx = 1", "ends: an operand of +="}, {"x = []\nx += [us]", "[(known after ssh.run, known.star:7)]"}, {"x = 1\nx <<= ui", "unknown int"}, {"x = 8\nx >>= ui", "unknown int"},
		{"d = {'k': 'a %s'}\nd['k'] %= us\nx = d['k']", "unknown string"}, {"d = {'k': 'a %s'}\nd['k'] %= 1\nx = d", `{"k": "a 1"}`}, {"y = {'k': ui}\ny['k'] += 1\nx = 1", "1"}, {"x = set([1])\nx |= uset", "unknown set"},
	},
	"index": {
		{"us[0]", "unknown string"}, {"ul[0]", "unknown string"}, {"uj['a'][0]", "unknown plain data"}, {"u['a']", "unknown"}, {"ui[0]", "error: int has no elements"},
		{"[1, 2][ui]", "ends: an index"}, {"{'a': 1}[us]", "ends: an index"}, {"{'a': 1}[(us, 1)]", "ends: an index"}, {"ul[ui]", "ends: an index"}, {"[us][0]", "unknown string"}, {"{'a': us}['a']", "unknown string"},
		{"y = {}\ny[us] = 1\nx = y", "ends: an index"}, {"y = [1]\ny[ui] = 1\nx = y", "ends: an index"}, {"y = [1]\ny[ui] += 1\nx = y", "ends: an index"}, {"ud['a'] = 1\nx = 1", "ends: what an element is assigned to"}, {"ud['a'] += 1\nx = 1", "ends: an operand of +="}, {"ud['a'] *= 1\nx = 1", "ends: what an element is assigned to"},
		{"u.a = 1\nx = 1", "ends: what a field is assigned to"}, {"y = [1]\ny[0] = us\nx = y[0]", "unknown string"}, {"{us: 1}", "ends: a key"}, {"{(us, 1): 1}", "ends: a key"}, {"{us: 1 for i in [1]}", "ends: a key"}, {"a, ud['a'] = 1, 2\n", "ends: what an element is assigned to"},
	},
	"slice": {
		{"us[1:]", "unknown string"}, {"ul[:2]", "unknown list of string"}, {"u[::2]", "unknown"}, {"us[1:-1]", "unknown string"}, {"'abc'[ui:]", "ends: a bound of a slice"}, {"'abc'[:ui]", "ends: a bound of a slice"}, {"'abc'[::ui]", "ends: a bound of a slice"}, {"[us][0:1][0]", "unknown string"},
	},
	"call": {
		{"u()", "ends: the function that is called"}, {"u.a()", "ends: the function that is called"}, {"len(*u)", "ends: what * passes"}, {"dict(**ud)", "ends: what ** passes"}, {"len(*[us])", "unknown int"}, {"(lambda a, k = us: k)(1)", "unknown string"},
		{"(lambda *a, **k: k['b'])(1, b = us)", "unknown string"},
	},
	"attributes": {
		{"rec.stdout", "unknown string"}, {"rec.stdout.strip().split()", "unknown list of string"}, {"rec.stdout.strip().split()[0].upper()", "unknown string"}, {"rec.json()", "unknown plain data"}, {"rec.json()['a']['b'].strip()", "unknown string"}, {"rec.lines()", "unknown list of string"},
		{"us.strp()", "error: string has no .strp field or method (did you mean .strip?)"}, {"ui.strip()", "error: int has no .strip field or method"}, {"uj.nope", "error: plain data has no .nope field or method"}, {"upath.path", "unknown string"}, {"upath.drv.strip", "<built-in method strip of unknown value>"}, {"upath.pat", "error: store_path has no .pat field or method (did you mean .path?)"},
		{"ul.append(1)", "ends: what .append() alters"}, {"ud.update({})", "ends: what .update() alters"}, {"uj.pop('a')", "ends: what .pop() alters"}, {"uset.add(1)", "ends: what .add() alters"}, {"ud.get('a')", "unknown"}, {"uj.get('a')", "unknown plain data"}, {"uj.get('a', [])", "unknown"}, {"ud.keys()", "unknown list"}, {"uj.items()[0][0]", "unknown plain data"},
		{"us.format(key)", "unknown secret"}, {"us.join(['a', u])", "unknown"}, {"us.find('a')", "unknown int"}, {"us.startswith('a')", "unknown bool"}, {"us.partition('a')[1]", "unknown string"}, {"ul.index('a')", "unknown int"}, {"u.anything", "unknown"}, {"us.elems()", "unknown string.elems of string"}, {"usec.strip", "error: secret has no .strip field or method"},
	},
	"universals": {
		{"abs(ui)", "unknown int"}, {"abs(u)", "unknown"}, {"any([0, us])", "unknown bool"}, {"any([1, us])", "True"}, {"all([0, us])", "False"}, {"all([1, us])", "unknown bool"}, {"any(ul)", "unknown bool"}, {"all([[us]])", "True"}, {"any(1)", "error: any: for parameter 1: got int, want iterable"},
		{"bool(us)", "unknown bool"}, {"bool([us])", "True"}, {"bytes(us)", "unknown bytes"}, {"bytes([ui])", "unknown bytes"}, {"chr(ui)", "unknown string"}, {"dict(u)", "unknown dict"}, {"dict([(us, 1)])", "ends: an argument of dict"}, {"dict([u])", "ends: an argument of dict"}, {"dict([('a', us)])['a']", "unknown string"}, {"dict(a = us)['a']", "unknown string"},
		{"dir(u)", "unknown list of string"}, {"dir(uj)", "unknown list of string"}, {"dir(ui)", "[]"}, {"dir(upath)", `["drv", "name", "path"]`}, {"enumerate(ul)", "unknown list of tuple"}, {"enumerate([us])[0][1]", "unknown string"}, {"enumerate([1], ui)", "unknown list of tuple"}, {"float(us)", "unknown float"},
		{"getattr(rec, 'stdout')", "unknown string"}, {"getattr(us, 'strip')()", "unknown string"}, {"getattr('a', us)", "ends: an argument of getattr"}, {"getattr(us, 'nope', 1)", "1"}, {"getattr(u, 'nope', 1)", "unknown"}, {"getattr(uj, 'strip', 1)", "unknown"}, {"getattr('a', 'join')([us])", "unknown string"}, {"getattr([1], 'extend')(ul)", "ends: an argument of extend"},
		{"hasattr(us, 'strip')", "True"}, {"hasattr(us, 'nope')", "False"}, {"hasattr(u, 'a')", "unknown bool"}, {"hasattr(uj, 'get')", "unknown bool"}, {"hasattr(uj, 'nope')", "False"}, {"hasattr('a', us)", "unknown bool"}, {"hash(us)", "unknown int"}, {"int(us)", "unknown int"}, {"int('1', base = ui)", "unknown int"}, {"len(us)", "unknown int"}, {"len([us])", "1"}, {"list(ul)", "unknown list of string"}, {"list([us])[0]", "unknown string"},
		{"max(1, ui)", "unknown"}, {"min([ui, 1])", "unknown"}, {"max(ul)", "unknown"}, {"max([(1, us), (1, 'a')])", "unknown"}, {"max([1, 2], key = lambda v: ui)", "ends: a key of max"}, {"max(ul, key = len)", "ends: an argument of max"}, {"min([us], key = len)", "ends: a key of min"}, {"max([us], key = lambda v: 1)", "unknown string"}, {"ord(us)", "unknown int"}, {"print(us)", "None"},
		{"range(ui)", "unknown range of int"}, {"range(1, ui)", "unknown range of int"}, {"repr([us])", "unknown string"}, {"reversed(ul)", "unknown list of string"}, {"reversed([us, 1])[0]", "1"}, {"set(ul)", "unknown set"}, {"set([us])", "unknown set"}, {"set([(us, 1)])", "unknown set"}, {"sorted(ul)", "unknown list"}, {"sorted([us, 'a'])", "unknown list"}, {"sorted([1], reverse = ub)", "unknown list"},
		{"sorted([1], key = lambda v: us)", "ends: a key of sorted"}, {"sorted(ul, key = len)", "ends: an argument of sorted"}, {"sorted([1, 2], None, ub)", "unknown list"}, {"sorted([2, 1], key = lambda v: v)", "[1, 2]"}, {"sorted([2, 1], lambda v: us)", "ends: a key of sorted"}, {"str(us)", "unknown string"}, {"str({'a': [us]})", "unknown string"}, {"str(u)", "unknown"}, {"str(rec)", "unknown string"}, {"tuple(ul)", "unknown tuple of string"},
		{"type(us)", `"string"`}, {"type(u)", "unknown string"}, {"type(uj)", "unknown string"}, {"type(ul)", `"list"`}, {"type([us])", `"list"`}, {"type(us) == 'string'", "True"}, {"zip(ul, [1])", "unknown list of tuple"}, {"zip([us], [1])[0][1]", "1"},
	},
	"methods": {
		{"'%s' % us", "unknown string"}, {"'%s' % [us]", "unknown string"}, {"'%s %d' % ('a', ui)", "unknown string"}, {"'%(a)s' % {'a': us}", "unknown string"}, {"us % 1", "unknown string"}, {"'%s' % u", "unknown"}, {"'%s' % rec", "unknown string"}, {"'{}'.format(us)", "unknown string"}, {"'{a}'.format(a = [us])", "unknown string"}, {"','.join(ul)", "unknown string"}, {"','.join(['a', us])", "unknown string"}, {"','.join(u)", "unknown"},
		{"'abc'.find(us)", "unknown int"}, {"'abc'.startswith((us, 'a'))", "unknown bool"}, {"'abc'.split(us)", "unknown list of string"}, {"'abc'.replace('a', us)", "unknown string"}, {"'abc'.strip(us)", "unknown string"}, {"'abc'.partition(us)", "unknown tuple of string"}, {"'abc'.count(us)", "unknown int"}, {"'a'.join", "<built-in method join of string value>"},
		{"{'a': 1}.get(us)", "ends: an argument of get"}, {"{'a': 1}.get((us,))", "ends: an argument of get"}, {"{'a': 1}.get('b', us)", "unknown string"}, {"{'a': us}.get('a')", "unknown string"}, {"{'a': us}.values()[0]", "unknown string"}, {"{'a': 1}.pop(us)", "ends: an argument of pop"}, {"{'a': 1}.setdefault(us, 1)", "ends: an argument of setdefault"}, {"{}.setdefault('a', us)", "unknown string"},
		{"y = {}\ny.update(ud)\nx = y", "ends: an argument of update"}, {"y = {}\ny.update([(us, 1)])\nx = y", "ends: an argument of update"}, {"y = {}\ny.update([['a', us]], b = us)\nx = y['b']", "unknown string"},
		{"y = []\ny.append(us)\nx = y[0]", "unknown string"}, {"y = []\ny.extend(ul)\nx = y", "ends: an argument of extend"}, {"y = []\ny.extend([us])\nx = y[0]", "unknown string"}, {"[1].index(us)", "unknown int"}, {"[us, 1].index(1)", "unknown int"}, {"[1, us].index(1)", "0"}, {"[1, us].index(1, 1)", "unknown int"}, {"[1].index(1, ui)", "unknown int"}, {"[1].insert(ui, 1)", "ends: an argument of insert"},
		{"y = [1]\ny.insert(0, us)\nx = y[0]", "unknown string"}, {"[1].pop(ui)", "ends: an argument of pop"}, {"[us].pop()", "unknown string"}, {"[1].remove(us)", "ends: an argument of remove"}, {"[us, 1].remove(1)", "ends: an argument of remove"}, {"y = [1, us]\ny.remove(1)\nx = len(y)", "1"},
		{"set([1]).union(ul)", "unknown set"}, {"set([1]).issubset([us])", "unknown bool"}, {"set([1]).add(us)", "ends: an argument of add"}, {"set([1]).discard(us)", "ends: an argument of discard"}, {"set([1]).update(ul)", "ends: an argument of update"}, {"set([1]) - uset", "unknown set"}, {"sorted(['b', 'a'], key = 'ab'.find)", `["a", "b"]`}, {"sorted([us], key = 'ab'.find)", "ends: a key of sorted"},
	},
	"modules": {
		{"json.encode(us)", "unknown string"}, {"json.encode({'a': [us]})", "unknown string"}, {"json.encode_indent([us])", "unknown string"}, {"json.decode(us)", "unknown plain data"}, {"json.decode(us, [])", "unknown"}, {"json.indent(us)", "unknown string"}, {"json.encode({'a': 1})", `"{\"a\":1}"`},
		{"math.floor(uf)", "unknown int"}, {"math.sqrt(ui)", "unknown float"}, {"time.now()", "unknown time.time"}, {"time.now().unix", "unknown int"}, {"time.now().format('2006')", "unknown string"}, {"time.now() - time.now()", "unknown"}, {"time.parse_duration(us)", "unknown time.duration"}, {"time.time(year = ui)", "unknown time.time"}, {"time.time(year = 2020).format(us)", "unknown string"}, {"struct(a = us).a", "unknown string"},
	},
	"secrets": {
		{"'%s' % key", "secret tok s3cr3t-in-forms"}, {"'a %s b' % key", "secret tok a s3cr3t-in-forms b"}, {"'%s %s' % (key, other)", "secret tok + pin s3cr3t-in-forms 9471-in-forms"}, {"'%s' % [key]", `secret tok ["s3cr3t-in-forms"]`}, {"'%(k)s' % {'k': key}", "secret tok s3cr3t-in-forms"}, {"'{}:{}'.format('a', key)", "secret tok a:s3cr3t-in-forms"}, {"'{k}'.format(k = key)", "secret tok s3cr3t-in-forms"},
		{"','.join(['a', key])", "secret tok a,s3cr3t-in-forms"}, {"str(key)", "secret tok s3cr3t-in-forms"}, {"str(struct(a = key))", `secret tok struct(a = "s3cr3t-in-forms")`}, {"repr(key)", `secret tok "s3cr3t-in-forms"`}, {"json.encode({'t': key})", `secret tok {"t":"s3cr3t-in-forms"}`}, {"json.encode_indent([key], indent = ' ')", "secret tok [\n \"s3cr3t-in-forms\"\n]"}, {"x = 'a %s'\nx %= key", "secret tok a s3cr3t-in-forms"},
		{"d = {'k': '%s'}\nd['k'] %= key\nx = d['k']", "secret tok s3cr3t-in-forms"}, {"'%s %s' % (key, us)", "unknown secret"}, {"'%s %s' % (key, u)", "unknown secret"}, {"'%d' % key", "error: %d format requires integer: cannot convert string to int"}, {"key % 1", "error: unknown binary op: secret % int"}, {"y = [key]\ny.append(y)\nx = str(y)", `secret tok ["s3cr3t-in-forms", [...]]`}, {"'%s' % usec", "unknown secret"}, {"'{}'.format(key) + 'a'", "secret tok s3cr3t-in-formsa"},
		{"key == key", "error: secrets cannot be compared: ‹secret tok›"}, {"len(key)", "error: len: value of type secret has no len"},
	},
}

// TestFormsOfSecretsAreInRuns: what a run does with secrets, a preview does.
func TestFormsOfSecretsAreInRuns(t *testing.T) {
	for _, tt := range formCases["secrets"] {
		if strings.Contains(tt[1], "unknown") && !strings.Contains(tt[1], "unknown binary op") {
			continue
		}
		if got := outcome(execute(DryRunForms().inRun(), statement(tt[0]), nil)); got != tt[1] {
			t.Errorf("%s: got %s, want %s", tt[0], got, tt[1])
		}
	}
}

// TestEveryFormIsNeeded: without a form, a case above comes out differently.
func TestEveryFormIsNeeded(t *testing.T) {
	for _, form := range DryRunForms().Names() {
		t.Run(form, func(t *testing.T) {
			without := DryRunForms()
			delete(without, form)
			for _, cases := range formCases {
				for _, tt := range cases {
					if differs(without, tt) {
						return
					}
				}
			}
			t.Error("no case misses it")
		})
	}
}

func differs(forms Forms, tt [2]string) (different bool) {
	defer func() { different = different || recover() != nil }()
	if slices.Contains(doubtful, tt[0]) {
		globals, _ := execute(forms, statement(tt[0]), nil)
		different = globals["=doubted"] != starlark.True
	}
	if different {
		return true
	}
	return outcome(execute(forms, statement(tt[0]), nil)) != tt[1]
}

// doubtful are cases that may fail in a run, of whose results an attempt must
// not say that they did not.
var doubtful = []string{"us[0]", "u['a']", "-ui", "2 // ui", "ui / 2", "uf * 2", "ui - 1", "ui & 1", "uset ^ set()", "1 >> ui", "us + 'a'", "u.anything", "rec.json()['a']['b'].strip()",
	"ul.index('a')", "int(us)", "'abc'.index(us)", "ui < 3", "'a' in us", "us[1:]", "x = 'a'\nx += us", "x = ui\nx *= 2", "json.decode(us)", "max(ul)", "'%s' % us",
	"y = {'k': ui}\ny['k'] += 1\nx = 1", "uj.items()[0][0]"}

func TestWhatMayFailIsDoubted(t *testing.T) {
	for _, text := range doubtful {
		globals, err := execute(DryRunForms(), statement(text), nil)
		if err != nil || globals["=doubted"] != starlark.True {
			t.Errorf("%s: doubted is %v: %v", text, globals["=doubted"], err)
		}
	}
	for _, text := range []string{"x = [us]", "x = {'a': us}", "x = us", "y = []\ny.append(us)", "x = 1 + 2", "x = 'a'.strip()", "def f(v): return v\nx = f(us)"} {
		globals, err := execute(DryRunForms(), text, nil)
		if err != nil || globals["=doubted"] != starlark.False {
			t.Errorf("%s: doubted is %v: %v", text, globals["=doubted"], err)
		}
	}
}

// TestANotKnownErrorHasItsPlace: of the value that would decide, and with the
// origin.
func TestANotKnownErrorHasItsPlace(t *testing.T) {
	_, err := execute(DryRunForms(), "def f():\n    return 1 if  us.strip() == \"a\" else 2\nf()", nil)
	f := failure(err, map[string]*source{"a.star": {lines: []string{"", "the line"}}})
	var notKnown *runtime.NotKnownError
	if !errors.As(f, &notKnown) || notKnown.Origin.Op != "ssh.run" {
		t.Fatalf("got %v", err)
	}
	if want := "a.star:2:18: the condition of an if is not known in a dry run (known after ssh.run, known.star:7)"; f.Error() != want {
		t.Errorf("got %s, want %s", f, want)
	}
	if fmt.Sprint(f.Trace) != "[a.star:3:2 in <toplevel>]" || f.Source != "the line" {
		t.Errorf("trace %v, source %s", f.Trace, f.Source)
	}
}
