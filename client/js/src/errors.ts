/** Why something was not done: the server's code, or "closed", "lost", "timeout", "full", "elsewhere". */
export class HomingError extends Error {
  constructor(readonly code: string, readonly reason?: string) {
    super(code);
  }
}
