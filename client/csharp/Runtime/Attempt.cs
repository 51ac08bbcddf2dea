using System;
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;

namespace Homing
{
    /// <summary>One attempt to connect: a token and a connection within HandshakeTimeout, then hello.</summary>
    sealed class Attempt
    {
        readonly HomingOptions options;
        readonly Uri address;
        readonly Action wake;
        readonly CancellationTokenSource cancel = new CancellationTokenSource();
        TimeSpan by;
        Task<string> token;
        Task<Connection> dial;
        Link link;
        bool over;

        /// <summary>Begins it. The address is null when there is none to connect to.</summary>
        internal Attempt(HomingOptions options, Uri address, Action wake)
        {
            this.options = options;
            this.address = address;
            this.wake = wake;
            by = options.Clock.Now + options.HandshakeTimeout;
            if (address == null)
            {
                Fail(Ending.Of(EndKind.Address, "not a ws:// or wss:// address with a host"));
                return;
            }
            try { token = options.Token == null ? Task.FromResult("") : options.Token(cancel.Token); }
            catch (Exception e) { Fail(TokenFailed(e)); }
            if (token == null) token = Task.FromResult("");
            Watch(token);
        }

        /// <summary>Why it has failed, or null.</summary>
        internal Ending Failed { get; private set; }
        /// <summary>What the server has said first, or null.</summary>
        internal Hello Hello { get; private set; }
        internal TimeSpan Due { get { return by; } }

        /// <summary>The connection, which is the caller's from now on.</summary>
        internal Link Take()
        {
            over = true;
            cancel.Dispose();
            return link;
        }

        internal void Step()
        {
            if (Failed == null && token != null) StepToken();
            if (Failed == null && dial != null) StepDial();
            if (Failed == null && link != null && Hello == null) StepHello();
            if (Failed == null && Hello == null && options.Clock.Now >= by)
                Fail(Ending.Of(EndKind.Lost, (link == null ? "no connection within " : "no hello within ") + options.HandshakeTimeout.TotalSeconds + " s"));
        }

        /// <summary>Lets go of all that is under way.</summary>
        internal void Abort()
        {
            if (over) return;
            over = true;
            cancel.Cancel();
            cancel.Dispose();
            if (token != null) Link.Forget(token);
            if (dial != null)
            {
                Link.Forget(dial);
                dial.ContinueWith(t => t.Result.Abort(), CancellationToken.None, TaskContinuationOptions.OnlyOnRanToCompletion | TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
            }
            if (link != null) link.Abort();
        }

        void Fail(Ending why)
        {
            Failed = why;
            if (link != null && why.Kind == EndKind.Protocol)
            {
                link.EndSoon(1002);
                link = null;
            }
            Abort();
        }

        static Ending TokenFailed(Exception e)
        {
            return Ending.Of(EndKind.Token, "the token function failed: " + e.GetType().Name, e);
        }

        /// <summary>Has a task that ends wake whoever waits to poll.</summary>
        void Watch(Task task)
        {
            if (!task.IsCompleted) task.ContinueWith(_ => wake(), CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        }

        /// <summary>Why a task that has ended brought nothing, or null.</summary>
        static Exception Cause(Task task)
        {
            if (task.Status == TaskStatus.RanToCompletion) return null;
            return task.Exception == null ? new TaskCanceledException(task) : task.Exception.GetBaseException();
        }

        void StepToken()
        {
            if (!token.IsCompleted) return;
            var done = token;
            token = null;
            var cause = Cause(done);
            if (cause != null)
            {
                Fail(TokenFailed(cause));
                return;
            }
            if (!IsToken(done.Result))
            {
                Fail(Ending.Of(EndKind.TokenFormat, "the token is not a JSON Web Token"));
                return;
            }
            var protocols = new List<string> { Wire.Protocol };
            if (!string.IsNullOrEmpty(done.Result)) protocols.Add(Wire.Bearer + done.Result);
            var request = new ConnectRequest
            {
                Url = address, Protocols = protocols, Headers = options.Headers, Clock = options.Clock,
                CertificateCheck = options.CertificateCheck, MessageLimit = options.MessageLimit,
            };
            var stop = cancel.Token;
            // Not on the caller's thread: what begins a connection may block.
            dial = Task.Run(() => options.Connector.Connect(request, stop));
            Watch(dial);
        }

        /// <summary>A JSON Web Token is letters, digits, '-', '_' and dots: no header can carry another.</summary>
        static bool IsToken(string text)
        {
            foreach (char c in text ?? "")
                if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') && "-_.".IndexOf(c) < 0) return false;
            return true;
        }

        void StepDial()
        {
            if (!dial.IsCompleted) return;
            var done = dial;
            dial = null;
            var cause = Cause(done);
            if (cause != null)
            {
                Fail(EndedException.Of(cause));
                return;
            }
            link = new Link(done.Result, options, wake);
            by = options.Clock.Now + options.HandshakeTimeout;
            link.Start();
        }

        void StepHello()
        {
            Received first;
            if (!link.TryTake(out first))
            {
                if (link.End != null) Fail(link.End);
                return;
            }
            try
            {
                var m = JsonValue.Parse(first.Text ?? "binary");
                if (m.StringOf("t") != "hello") throw new JsonException("the first message is not hello");
                Hello = new Hello(m);
            }
            catch (JsonException e) { Fail(Ending.Of(EndKind.Protocol, e.Message, e)); }
        }
    }
}
