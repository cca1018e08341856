"""Carrying out jobs: order and claims (`runner`), processes on this machine (`local`), their watcher (`watch`)."""
