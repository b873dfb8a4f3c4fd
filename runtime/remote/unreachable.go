package remote

import "errors"

// ErrUnreachable: no connection to the host could be made now; the same try may
// succeed later. A host key or a login that is refused is not this.
var ErrUnreachable = errors.New("unreachable")
