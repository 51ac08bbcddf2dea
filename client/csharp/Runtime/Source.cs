using System;
using System.Collections.Generic;

namespace Homing
{
    /// <summary>
    /// Something that keeps notifications and tells what was missed: the user's inbox, or a topic
    /// with its history. It has a place: the last of them that was dealt with. What arrives before
    /// the answer is newer than what was missed, and is set aside until the replay is over; that
    /// survives the loss of the connection.
    /// </summary>
    sealed class Source
    {
        internal enum Phase
        {
            Idle,   // not connected, or not wanted
            Wanted, // to be asked when its turn comes
            Asking,
            Replaying,
            Behind, // it could not tell: messages pass, and it is asked again
            Live,
        }

        const int asideMost = 4096, asideBytes = 8 << 20;

        internal readonly string Key; // in the store, behind the user
        internal readonly string Topic; // empty: the inbox
        internal Phase State = Phase.Idle;
        internal string Place = "";
        internal bool Dirty; // to be saved
        internal long Left; // notifications of the replay that are still to come
        internal string Last = ""; // the place after the replay
        internal TimeSpan AskAt; // while Behind
        internal TimeSpan AnswerBy; // while Asking
        internal Action Ask; // sends the request
        bool passing; // it was Behind on this connection: what comes is not set aside
        List<Notification> aside = new List<Notification>();
        int asideWeight;

        internal Source(string topic)
        {
            Topic = topic;
            Key = topic.Length == 0 ? "place" : "topic " + topic;
        }

        internal void Move(string place)
        {
            if (Place == place) return;
            Place = place;
            Dirty = true;
        }

        /// <summary>Begins with a new connection that can tell, or cannot.</summary>
        internal void Want(bool can)
        {
            passing = false;
            State = can ? Phase.Wanted : Phase.Live;
        }

        internal void Lose() { State = Phase.Idle; }

        internal void FallBehind(TimeSpan askAt)
        {
            State = Phase.Behind;
            passing = true;
            AskAt = askAt;
        }

        internal bool Has(Notification n) { return Topic.Length == 0 || n.Topics.Contains(Topic); }

        /// <summary>A notification moves its place, if it is none that was had before.</summary>
        internal bool Moves(Notification n)
        {
            return State == Phase.Live && (Topic.Length == 0 ? n.Stored : n.Kept && Has(n));
        }

        internal bool SetsAside(Notification n)
        {
            return (State == Phase.Wanted || State == Phase.Asking) && !passing && Has(n);
        }

        /// <summary>Sets aside. Reports false when that is too much: then let everything pass.</summary>
        internal bool Add(Notification n)
        {
            aside.Add(n);
            asideWeight += n.Weight;
            return aside.Count < asideMost && asideWeight < asideBytes;
        }

        internal void Pass() { passing = true; }

        internal List<Notification> Release()
        {
            var all = aside;
            aside = new List<Notification>();
            asideWeight = 0;
            return all;
        }
    }
}
