using System;

namespace Homing
{
    /// <summary>How a connection, or the attempt to make one, ended.</summary>
    public enum EndKind
    {
        /// <summary>The server closed it with a close frame: Code and Reason.</summary>
        Closed,
        /// <summary>The server answered the handshake with an HTTP status: Code, Problem, RetryAfter.</summary>
        Refused,
        /// <summary>The network failed, or nothing came in time.</summary>
        Lost,
        /// <summary>The server does not speak homing.v1 as it should.</summary>
        Protocol,
        /// <summary>The address is none that a client can connect to.</summary>
        Address,
        /// <summary>The token function failed: Cause.</summary>
        Token,
        /// <summary>The token function gave what is no JSON Web Token.</summary>
        TokenFormat,
        /// <summary>The room cannot be joined now; the client tries again.</summary>
        Room,
        /// <summary>The application left: Stop, Dispose, or its CancellationToken.</summary>
        Left,
    }

    /// <summary>Why a connection ended. Immutable.</summary>
    public sealed class Ending
    {
        public readonly EndKind Kind;
        /// <summary>A close code (RFC 6455, 1005 when there was none), or an HTTP status; else 0.</summary>
        public readonly int Code;
        /// <summary>The server's reason, or what happened; never a token.</summary>
        public readonly string Reason;
        /// <summary>The stable code of a refusal, token_expired for example; empty when none was read.</summary>
        public readonly string Problem;
        /// <summary>What a refusal asks to wait; zero when it does not say.</summary>
        public readonly TimeSpan RetryAfter;
        /// <summary>The exception behind it, or null.</summary>
        public readonly Exception Cause;
        /// <summary>True when the client gives up because too many tokens in a row were refused.</summary>
        public readonly bool TokensSpent;

        Ending(EndKind kind, int code, string reason, string problem, TimeSpan retryAfter, Exception cause, bool spent)
        {
            Kind = kind;
            Code = code;
            Reason = reason ?? "";
            Problem = problem ?? "";
            RetryAfter = retryAfter;
            Cause = cause;
            TokensSpent = spent;
        }

        internal static Ending Closed(int code, string reason) { return new Ending(EndKind.Closed, code, reason, "", TimeSpan.Zero, null, false); }

        internal static Ending Refused(int status, string problem, TimeSpan retryAfter)
        {
            return new Ending(EndKind.Refused, status, "", problem, retryAfter, null, false);
        }

        internal static Ending Of(EndKind kind, string reason, Exception cause = null)
        {
            return new Ending(kind, 0, reason, "", TimeSpan.Zero, cause, false);
        }

        internal Ending Spent() { return new Ending(Kind, Code, Reason, Problem, RetryAfter, Cause, true); }

        /// <summary>
        /// Reports whether it will not pass with time: the server refused this client, somebody
        /// ended the connection on purpose, or one side does not speak the protocol
        /// (docs/protocol.md, "Reconnecting").
        /// </summary>
        public bool Permanent
        {
            get
            {
                if (TokensSpent) return true;
                switch (Kind)
                {
                    case EndKind.Protocol:
                    case EndKind.Address:
                    case EndKind.Left:
                        return true;
                    case EndKind.Refused:
                        return Code >= 400 && Code < 500 && Code != 401 && Code != 408 && Code != 425 && Code != 429;
                    case EndKind.Closed:
                        return PermanentClose(Code);
                    default:
                        return false;
                }
            }
        }

        static bool PermanentClose(int code)
        {
            switch (code)
            {
                case 1000: case 4003: case 4010: // on purpose, or another device has come instead
                case 1002: case 1003: case 1007: case 1008: case 1009: case 1010: // the protocol, or policy
                    return true;
                default:
                    return false;
            }
        }

        internal bool IsTokenRefused
        {
            get { return Kind == EndKind.TokenFormat || (Kind == EndKind.Refused && Code == 401); }
        }

        public override string ToString()
        {
            switch (Kind)
            {
                case EndKind.Closed: return ("closed by the server: " + Code + " " + Reason).TrimEnd();
                case EndKind.Refused: return ("refused: HTTP " + Code + " " + Problem).TrimEnd();
                default: return Kind + ": " + Reason;
            }
        }
    }

    /// <summary>An ending on its way to who waits for it.</summary>
    public sealed class EndedException : Exception
    {
        public readonly Ending Ending;

        public EndedException(Ending ending) : base(ending.ToString(), ending.Cause) { Ending = ending; }

        /// <summary>The ending that an exception of a connection stands for.</summary>
        internal static Ending Of(Exception e)
        {
            var ended = e as EndedException;
            if (ended != null) return ended.Ending;
            return Ending.Of(EndKind.Lost, e.GetType().Name + ": " + e.Message, e);
        }
    }
}
