package remote

import "context"

// Run runs cmd on this machine, without a shell and in a process group of its
// own. What is left of the group when the command ends is killed. When ctx
// ends the group gets TERM, after the command's grace KILL, and Run returns
// ctx's cause. When infra dies, however it does, the group gets the same.
func Run(ctx context.Context, cmd Command) (Exit, error) {
	if ctx.Err() != nil {
		return Exit{}, context.Cause(ctx)
	}
	child, err := Spawn(cmd)
	if err != nil {
		return Exit{}, err
	}
	select {
	case <-child.Ended():
		return child.Wait()
	case <-ctx.Done():
		return child.Stop(), context.Cause(ctx)
	}
}
