package remote

import "errors"

// ErrUnreachable: no connection to the host could be made now; the same try may
// succeed later. A host key or a login that is refused is not this.
var ErrUnreachable = errors.New("unreachable")

// unreachable is an error that is ErrUnreachable, in its own words.
type unreachable struct{ error }

func (u unreachable) Is(target error) bool { return target == ErrUnreachable }
func (u unreachable) Unwrap() error        { return u.error }
